"""A budget of filters: the pool that pruned-refit finds, against all there are, and the parts it is found with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ddeep.evidence.context import Context
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import gram, pruned_refit
from ddeep_plugins_builtin.strategies.joint import problem as joint_problem
from ddeep_plugins_builtin.strategies.joint.omp import shared_pursuit
from ddeep_plugins_builtin.strategies.joint.pool import Pool, costs
from ddeep_plugins_builtin.strategies.joint.problem import Problem
from ddeep_plugins_builtin.strategies.joint.standardised import gram_matrix, label_moments
from tests.builtin.test_pruned_refit import PENALTY, as_given, batch, block, first, objective_of, problem, random_head
from tests.reference import gram as gram_reference
from tests.reference import pruned_refit as reference
from tests.support.evidence import evidence_of

CLASSES, FILTERS, IMAGES = 3, 8, 60


@pytest.mark.parametrize(("filters", "budget"), [(8, 3), (6, 4)])
def test_it_finds_nearly_the_best_of_all_pools(filters: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the best hundredth of all selections within the budget, and nearly always within 1 % of the least loss."""
    supports = reference.pooled_supports(CLASSES, filters, 2, budget)
    monkeypatch.setattr(joint_problem, "SELECTING", PENALTY * IMAGES / CLASSES)
    monkeypatch.setattr(joint_problem, "FITTING", PENALTY * IMAGES / CLASSES)
    monkeypatch.setattr(joint_problem, "TAUGHT", 0.0)
    near = []
    for seed in range(3):
        data = problem(seed, CLASSES, filters, IMAGES)
        found = Problem(data).head(2, budget)
        losses = reference.least_losses(*as_given(data), supports)
        assert len(found.support[:, :-1].unique()) <= budget
        assert found.loss >= losses.min() - 1e-5
        assert (losses < found.loss * (1 - 1e-3)).double().mean() <= 0.01
        near.append(found.loss <= 1.01 * losses.min())
    assert sum(near) >= 2


def test_the_many_losses_are_those_of_each_alone() -> None:
    data = problem(1, CLASSES, FILTERS, IMAGES)
    supports = reference.pooled_supports(CLASSES, FILTERS, 2, 3)
    assert len(supports) == 56 * 27 - 28 * 5  # a pair of filters is in several pools
    some = supports[::400]
    for support, loss in zip(some, reference.least_losses(*as_given(data), some), strict=True):
        mask = torch.zeros(CLASSES, FILTERS, dtype=torch.bool).scatter(1, support, True)
        assert loss.item() == pytest.approx(reference.minimum(*as_given(data), mask)[0], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_filter_costs_what_its_classes_lose(seed: int) -> None:
    data = problem(seed, CLASSES, 5, IMAGES)
    head = first(objective_of(data), 3)
    expected = torch.zeros(5, dtype=torch.float64)
    for c in range(CLASSES):
        gradient, hessian, values = block(head, data, c)
        for out in range(3):
            kept = [0, 1, 2, 5]
            options = [reference.change(gradient, hessian, values, kept, out, j)[0] for j in (3, 4)]
            gone = reference.change(gradient * 0, hessian, values, kept, out)[0]
            expected[out] += max(0.0, min(gone, *options))
    torch.testing.assert_close(costs(head), expected, rtol=1e-2, atol=1e-6)


def test_a_pool_is_the_whole_problem_but_for_numbers() -> None:
    data = problem(0, CLASSES, 6, IMAGES)
    head = first(objective_of(data), 2)
    pool = Pool.of(head, torch.tensor([0, 1, 4]))
    loss, gradient = pool.head.objective.loss_and_gradient(pool.head.support, pool.head.weight)
    there, slope = head.objective.loss_and_gradient(head.support, head.weight)
    assert loss == there
    assert torch.equal(gradient, slope)
    assert torch.equal(pool.whole.support, head.support)


def test_least_squares_for_all_classes_takes_what_lowers_the_sum_of_errors_most() -> None:
    data = problem(2, CLASSES, 6, IMAGES)
    inputs = data.columns[:-1].T.double().numpy()
    members = [(data.labels.numpy() == c) - np.mean(data.labels.numpy() == c) for c in range(CLASSES)]
    matrix = gram_matrix(data)
    matrix.diagonal().add_(gram.RIDGE)
    order = shared_pursuit(matrix, label_moments(data)[:, :-1].contiguous(), 6).tolist()
    for step, best in enumerate(order):
        tried = [gram_reference.errors_of_next(inputs, own, order[:step]) for own in members]
        sums = {j: sum(errors[j] for errors in tried) for j in tried[0]}
        assert sums[best] == pytest.approx(min(sums.values()), abs=1e-9)


def selected(given: ResponseBatch, budget: int | None, k: int = 3) -> Selection:
    context = Context(nn.ReLU(), random_head(), budget=budget)
    return pruned_refit.select_all(evidence_of(given, [], 4), [k], context)[k]


@pytest.mark.parametrize("budget", [3, 4, 6])
def test_classes_have_k_each_and_no_more_than_the_budget_together(budget: int) -> None:
    found = selected(batch(), budget)
    assert found.size == 3
    assert found.distinct <= budget
    assert found.head is not None
    assert (found.head.weight != 0).all()


def test_a_budget_of_all_filters_changes_nothing() -> None:
    assert selected(batch(), 9) == selected(batch(), None)


@pytest.mark.parametrize("seed", range(2))
def test_names_order_and_units_do_not_matter(seed: int) -> None:
    given = batch(seed)
    generator = torch.Generator().manual_seed(seed)
    names, places = torch.randperm(4, generator=generator), torch.randperm(9, generator=generator)
    images, units = torch.randperm(400, generator=generator), torch.rand(9, generator=generator) + 0.1
    other = ResponseBatch((given.responses[:, places] * units - 3)[images], names[given.labels][images], given.indices)
    found, renamed = selected(given, 4).filters, selected(other, 4).filters
    assert [sorted(places[list(renamed[names[c]])].tolist()) for c in range(4)] == [sorted(row) for row in found]


@pytest.mark.parametrize("budget", [3, 5, 9])
def test_gram_keeps_to_a_pool_of_its_own(budget: int) -> None:
    evidence = evidence_of(batch(), gram.needs([3]), 4)
    scores = gram.select_all(evidence, [3], Context(nn.ReLU(), budget=budget))[3]
    assert (scores > 0).sum(1).tolist() == [3] * 4
    assert (scores > 0).any(0).sum() <= budget
