"""QPM against its definition, and its search and bounds against all solutions of small problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import qpm, qpm_bound
from ddeep_plugins_builtin.strategies.qpm_problem import Problem, closest_pairs, rescaled, twins
from tests.reference import qpm as reference
from tests.support.evidence import evidence_of

CLASSES, FILTERS, K = 3, 8, 2


def batch(seed: int, classes: int = CLASSES, filters: int = FILTERS, images: int = 90) -> ResponseBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, filters, generator=generator)
    responses = (centres[labels] + torch.randn(images, filters, generator=generator)).relu()
    return ResponseBatch(responses, labels, torch.arange(images))


def evidence(given: ResponseBatch, classes: int = CLASSES) -> Evidence:
    return evidence_of(given, qpm.needs([K]), classes)


def selected(given: ResponseBatch, classes: int = CLASSES) -> Selection:
    return qpm.select(evidence(given, classes), K, Context(nn.ReLU()))


@pytest.mark.parametrize("budget", [2, 4, 8])
def test_the_budget_is_the_size_of_the_pool(budget: int) -> None:
    found = qpm.select(evidence(batch(1)), K, Context(nn.ReLU(), budget=budget))
    assert found.source["pool"] == budget
    assert found.distinct <= budget
    assert found.size == K


def random_problem(seed: int, size: int = 4, alike: bool = False) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    gain = 10 * torch.randn(CLASSES, FILTERS, generator=generator, dtype=torch.float64)
    if alike:
        gain = gain[:1] + 0.1 * gain
    cost = 20 * (torch.rand(FILTERS, FILTERS, generator=generator, dtype=torch.float64) - 0.5).clamp(min=0)
    return Problem(gain, cost.triu(1) + cost.triu(1).T, K, size)


def test_correlations_and_similarities_are_those_of_the_definition() -> None:
    given = batch(0)
    given.responses[:, 5] = 0.7
    found, mean, deviation = qpm.correlations(evidence(given))
    expected = reference.correlations(given.responses.numpy(), given.labels.numpy(), CLASSES)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(qpm.cosines(found).numpy(), reference.cosines(expected), atol=1e-9)
    np.testing.assert_allclose(mean.numpy(), given.responses.double().numpy().mean(0))
    np.testing.assert_allclose(deviation.numpy(), given.responses.double().numpy().std(0), atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_keeps_a_pool_free_of_costs(seed: int) -> None:
    """It is no less than the smallest such, and mostly that; the similarities above span 0 to 1."""
    table = reference.correlations(batch(seed).responses.numpy(), batch(seed).labels.numpy(), CLASSES)
    similarity = qpm.cosines(torch.from_numpy(table))
    apart = similarity.clone().fill_diagonal_(torch.inf)
    found = closest_pairs(apart, 4).min().item()
    assert found >= reference.threshold(similarity.numpy(), 4) - 1e-12
    cost = rescaled(similarity, 4)
    assert torch.equal(cost > 0, (similarity > found) & (cost > 0))
    above = similarity[similarity > found]
    assert (cost.max(), cost[similarity == above.min()].max()) == (1, 0)
    assert torch.equal(cost, cost.T)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("size", [3, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_search_and_bounds_against_all_solutions(seed: int, size: int, alike: bool) -> None:
    """All 28 to 70 pools of eight filters, and for each all choices of two filters for three classes."""
    problem = random_problem(seed, size, alike)
    best, free = reference.best(problem.gain.numpy(), problem.cost.numpy(), K, size)
    chosen = problem.choose(problem.pool)
    assert (chosen.sum(1) == K).all()
    assert not (chosen & ~problem.pool).any()
    assert not twins(chosen)
    reached = problem.objective(chosen, problem.pool)
    assert reached <= best + 1e-9
    assert problem.fit(problem.pool) >= free - 0.1 * abs(free), "a local optimum, near the best"
    bound = qpm_bound.lagrangian(problem, reached)
    assert best <= free <= bound + 1e-9
    assert bound - free <= 0.5 * abs(free) + 10, "far from the trivial one"
    solved = qpm_bound.exact(problem)
    assert solved is not None
    assert solved.chosen is not None
    assert solved.pool is not None
    assert not twins(solved.chosen)
    assert problem.objective(solved.chosen, solved.pool) == pytest.approx(best, abs=1e-6)
    assert solved.bound == pytest.approx(best, rel=1e-3)


def test_a_solver_out_of_time_says_so_and_the_best_so_far_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = SimpleNamespace(status=qpm_bound.TIME_UP, x=None, mip_dual_bound=None)
    monkeypatch.setattr(qpm_bound, "milp", lambda *_, **__: nothing)
    with pytest.warns(UserWarning, match="the solver was stopped after 20 seconds; the best found so far is taken"):
        selection = selected(batch(0))
    assert selection.source["objective"] <= selection.source["bound"] < np.inf
    assert selection.form == "binary"


def test_too_few_sets_leave_classes_alike() -> None:
    problem = random_problem(0, 2)
    assert len(twins(problem.choose(problem.pool))) == CLASSES
    solved = qpm_bound.exact(problem)
    assert solved is not None
    assert solved.chosen is None


def test_without_costs_the_bound_is_met() -> None:
    """Then the relaxation is that of a location problem, and nearly always tight."""
    problem = random_problem(1)
    problem = Problem(problem.gain, torch.zeros_like(problem.cost), K, 4)
    _, free = reference.best(problem.gain.numpy(), problem.cost.numpy(), K, 4)
    assert problem.fit(problem.pool) == pytest.approx(free)
    assert qpm_bound.lagrangian(problem, free) == pytest.approx(free, rel=0.02)


def test_the_selection_says_how_good_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qpm, "POOL", 4)
    for seed in range(3):
        given = batch(seed)
        found = selected(given)
        table = reference.correlations(given.responses.numpy(), given.labels.numpy(), CLASSES)
        cost = rescaled(torch.from_numpy(reference.cosines(table)), 4).numpy()
        best, _ = reference.best(1000 / (K * CLASSES) * table, cost, K, 4)
        assert found.source["pool"] == 4
        assert found.source["objective"] == pytest.approx(best, rel=1e-6)
        assert best <= found.source["bound"] * (1 + 1e-9)
        assert found.source["gap"] <= 1e-3
        assert len({j for row in found.filters for j in row}) <= 4
        for row, scores in zip(found.filters, found.scores, strict=True):
            assert list(scores) == sorted(scores, reverse=True)
            assert scores == pytest.approx([table[list(found.filters).index(row), j] for j in row])


def test_the_head_adds_up_standardised_responses() -> None:
    given = batch(4)
    found = selected(given)
    assert found.head is not None
    head = found.learned_head(Head(torch.zeros(CLASSES, FILTERS).double(), torch.zeros(CLASSES).double()))
    inputs = given.responses.double().numpy()
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    expected = np.array([inputs[:, list(row)].sum(1) for row in found.filters]).T
    logits = given.responses.double() @ head.weight.T + head.bias
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-6)


def reordered(given: ResponseBatch, order: Tensor) -> ResponseBatch:
    return ResponseBatch(given.responses[:, order], given.labels, given.indices)


@pytest.mark.parametrize("seed", range(3))
def test_names_of_classes_and_order_of_filters_do_not_matter(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qpm, "POOL", 5)
    given, names = batch(seed), torch.tensor([2, 0, 1])
    order = torch.randperm(FILTERS, generator=torch.Generator().manual_seed(seed))
    expected = [set(row) for row in selected(given).filters]
    renamed = selected(ResponseBatch(given.responses, names[given.labels], given.indices))
    assert [set(renamed.filters[names[c]]) for c in range(CLASSES)] == expected
    moved = selected(reordered(given, order))
    assert [{int(order[j]) for j in row} for row in moved.filters] == expected


def test_on_real_responses(real_data: Callable[[str], Path]) -> None:
    """202 classes, 1,280 filters: 50 are chosen, no two classes alike, and the optimum is known to a fifth."""
    tensors = load_file(real_data("responses/lite0-tiny202.safetensors"))
    responses, labels = tensors["train_responses"].float(), tensors["train_labels"].long()
    given = ResponseBatch(responses, labels, torch.arange(len(labels)))
    found = qpm.select(evidence(given, 202), 5, Context(nn.ReLU()))
    assert len({j for row in found.filters for j in row}) <= found.source["pool"] == 50
    assert len({frozenset(row) for row in found.filters}) == 202
    assert 0 <= found.source["gap"] < 0.2
