"""SLDD and Q-SENN against their references."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from ddeep.evidence.context import Context
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import elastic_net_path, q_senn, sldd
from tests.reference import elastic_net
from tests.reference import q_senn as ternary_reference
from tests.reference import sldd as reference
from tests.support.evidence import evidence_of

CLASSES, FILTERS, POOL = 4, 12, 6


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sldd, "POOL", POOL)


def batch(seed: int, images: int = 160) -> ResponseBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % CLASSES
    centres = torch.randn(CLASSES, FILTERS, generator=generator)
    responses = (centres[labels] + 1.5 * torch.randn(images, FILTERS, generator=generator)).relu()
    return ResponseBatch(responses, labels, torch.arange(images))


def selected(given: ResponseBatch, k: int, strategy: ModuleType = sldd, budget: int | None = None) -> Selection:
    context = Context(nn.ReLU(), budget=budget)
    found: Selection = strategy.select_all(evidence_of(given, [], CLASSES), [k], context)[k]
    return found


def head_of(found: Selection, given: ResponseBatch) -> tuple[np.ndarray, np.ndarray]:
    """The learned head, of standardised responses."""
    dense = Head(torch.zeros(CLASSES, FILTERS).double(), torch.zeros(CLASSES).double())
    weight, bias = (part.numpy() for part in found.learned_head(dense))
    responses = given.responses.double().numpy()
    return weight * responses.std(0), bias + weight @ responses.mean(0)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_pool_and_heads_are_those_of_the_definition(seed: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_net_path, "TOLERANCE", 1e-4)
    monkeypatch.setattr(sldd, "ROUGH", 1e-4)
    given = batch(seed)
    inputs, labels = elastic_net.standardised(given.responses.numpy()), given.labels.numpy()
    chosen = reference.pool(inputs, labels, POOL)
    weight, bias = reference.head(inputs[:, chosen], labels, k)
    found = selected(given, k)
    for own, row in zip(found.filters, weight, strict=True):
        assert set(own) == {chosen[j] for j in np.flatnonzero(row)}
    whole = np.zeros((CLASSES, FILTERS))
    whole[:, chosen] = weight
    ours, offset = head_of(found, given)
    np.testing.assert_allclose(ours, whole, atol=0.01 * abs(weight).max())
    np.testing.assert_allclose(offset - offset.mean(), bias - bias.mean(), atol=0.01 * abs(bias).max())
    assert found.source["residual"] <= 1e-3
    quantised = selected(given, k, q_senn)
    assert [set(row) for row in quantised.filters] == [set(row) for row in found.filters]
    ours, offset = head_of(quantised, given)
    weight, expected = ternary_reference.ternary(whole, bias)
    np.testing.assert_allclose(ours, weight, rtol=0.01, atol=1e-6)
    np.testing.assert_allclose(offset - offset.mean(), expected - expected.mean(), atol=0.01 * abs(bias).max())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_classes_have_k_on_average_of_one_pool(k: int) -> None:
    found = selected(batch(3), k)
    assert len({j for row in found.filters for j in row}) <= POOL
    assert all(found.filters)
    assert k * CLASSES <= sum(map(len, found.filters)) <= k * CLASSES + CLASSES - 1


@pytest.mark.parametrize("strategy", [sldd, q_senn])
def test_the_budget_is_the_size_of_the_pool(strategy: ModuleType) -> None:
    assert selected(batch(3), 2, strategy, POOL) == selected(batch(3), 2, strategy)
    few = selected(batch(3), 2, strategy, 3)
    inputs, labels = elastic_net.standardised(batch(3).responses.numpy()), batch(3).labels.numpy()
    assert {j for row in few.filters for j in row} <= set(reference.pool(inputs, labels, 3))


def test_both_strategies_share_one_path(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    path = sldd.path
    monkeypatch.setattr(sldd, "path", lambda *given: walked.append(given) or path(*given))
    evidence, context = evidence_of(batch(1), [], CLASSES), Context(nn.ReLU())
    for strategy in (sldd, q_senn):
        strategy.select_all(evidence, [1, 2], context)
    assert len(walked) == 1


@pytest.mark.parametrize("strategy", [sldd, q_senn])
def test_names_of_classes_and_order_of_filters_do_not_matter(strategy: ModuleType) -> None:
    given, names = batch(5), torch.tensor([2, 0, 3, 1])
    order = torch.randperm(FILTERS, generator=torch.Generator().manual_seed(0))
    expected = [set(row) for row in selected(given, 2, strategy).filters]
    renamed = selected(ResponseBatch(given.responses, names[given.labels], given.indices), 2, strategy)
    assert [set(renamed.filters[names[c]]) for c in range(CLASSES)] == expected
    moved = selected(ResponseBatch(given.responses[:, order], given.labels, given.indices), 2, strategy)
    assert [{int(order[j]) for j in row} for row in moved.filters] == expected


def test_a_ternary_head_has_one_magnitude() -> None:
    weight, _ = head_of(selected(batch(1), 2, q_senn), batch(1))
    sizes = abs(weight[weight != 0])
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-6)
    assert (weight > 0).any()
