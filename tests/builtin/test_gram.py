"""The strategy gram: each step against solving for all weights anew; sums alone decide, in any order and split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from ddeep.evidence.context import Context
from ddeep.selections.select import choose, get_strategy
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import gram
from tests.reference import gram as reference
from tests.support.batches import batches
from tests.support.effort import examples
from tests.support.evidence import evidence_of

CLASSES = 4


def scores(batch: ResponseBatch, k: int, parts: tuple[tuple[ResponseBatch, ...], ...] = ()) -> Tensor:
    evidence = evidence_of(batch, gram.needs([k]), CLASSES, parts)
    return gram.select_all(evidence, [k], Context(nn.ReLU()))[k]


def order(batch: ResponseBatch, k: int) -> list[list[int]]:
    return scores(batch, k).argsort(dim=1, descending=True, stable=True)[:, :k].tolist()


@given(batch=batches(max_images=30, classes=CLASSES))
@examples(30)
def test_every_step_takes_what_lowers_the_error_most(batch: ResponseBatch) -> None:
    inputs = reference.standardised(batch.responses.numpy())
    k = inputs.shape[1]
    for c, filters in enumerate(order(batch, k)):
        membership = (batch.labels.numpy() == c).astype(np.float64)
        for step in range(k):
            tried = reference.errors_of_next(inputs, membership, filters[:step])
            assert tried[filters[step]] == pytest.approx(min(tried.values()), abs=1e-9)


def some(images: int = 200, filters: int = 9, seed: int = 0) -> ResponseBatch:
    """Signed responses, filters correlated."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (images,), generator=generator)
    mixing = torch.eye(filters) + 0.5 * torch.randn(filters, filters, generator=generator)
    liking = torch.randn(CLASSES, filters, generator=generator)
    responses = (liking[labels] + torch.randn(images, filters, generator=generator)) @ mixing
    return ResponseBatch(responses, labels, torch.arange(images))


def test_fewer_filters_are_the_first_of_more() -> None:
    many = order(some(), 6)
    for k in range(1, 6):
        assert order(some(), k) == [row[:k] for row in many]


def test_scores_say_when_a_filter_came() -> None:
    found = scores(some(), 3)
    assert found.sort(dim=1, descending=True).values[:, :4].tolist() == [[1.0, 1 / 2, pytest.approx(1 / 3), 0.0]] * 4


@pytest.mark.parametrize("seed", range(3))
def test_names_of_classes_and_filters_units_and_splits_do_not_matter(seed: int) -> None:
    batch = some(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    found = scores(batch, 4)
    names, places = torch.randperm(CLASSES, generator=generator), torch.randperm(9, generator=generator)
    units = torch.rand(9, generator=generator) + 0.1
    other = ResponseBatch(batch.responses[:, places] * units + 5, names[batch.labels], batch.indices)
    torch.testing.assert_close(scores(other, 4)[names], found[:, places], rtol=0, atol=0)
    cut = torch.randperm(200, generator=generator).tensor_split([40, 41, 130])
    parts = tuple((part_of(batch, part),) for part in cut)
    torch.testing.assert_close(scores(batch, 4, parts), found, rtol=0, atol=0)


def part_of(batch: ResponseBatch, wanted: Tensor) -> ResponseBatch:
    """Some of the images."""
    return ResponseBatch(batch.responses[wanted], batch.labels[wanted], batch.indices[wanted])


def test_constant_and_repeated_filters_come_last() -> None:
    batch = some()
    responses = batch.responses.clone()
    responses[:, 2], responses[:, 7] = 3.5, responses[:, 1]
    batch = ResponseBatch(responses, batch.labels, batch.indices)
    for row in order(batch, 9):
        assert row.index(2) >= 7
        assert row.index(1) < row.index(7)


def test_absent_classes_have_no_filters() -> None:
    batch = some()
    evidence = evidence_of(part_of(batch, batch.labels != 1), gram.needs([2]), CLASSES)
    found = choose(get_strategy("gram"), evidence, 2, Context(nn.ReLU()))
    assert found.absent == (1,)
    assert [len(row) for row in found.filters] == [2, 0, 2, 2]
