"""Budgets: the pool that strategies' scores are narrowed to, and what cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ddeep.errors import ConfigError, SelectionError
from ddeep.evidence.context import Context
from ddeep.registry.specs import StrategySpec
from ddeep.selections.budget import common_pool
from ddeep.selections.select import choose
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from tests.reference import budget as reference
from tests.support.effort import examples
from tests.support.evidence import evidence_of

CLASSES, FILTERS = 3, 8


@st.composite
def orders(draw: st.DrawFn) -> list[list[int]]:
    classes, filters = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    return [draw(st.permutations(range(filters))) for _ in range(classes)]


@given(rows=orders(), data=st.data())
@examples(60)
def test_the_pool_is_grown_by_what_adds_most(rows: list[list[int]], data: st.DataObject) -> None:
    filters = len(rows[0])
    k = data.draw(st.integers(1, filters))
    budget = data.draw(st.integers(k, filters))
    pool = set(torch.nonzero(common_pool(torch.tensor(rows), k, budget))[:, 0].tolist())
    worth = reference.worth(rows, k, pool)
    assert len(pool) == budget
    assert float(worth) == pytest.approx(float(reference.worth(rows, k, reference.grown(rows, k, budget))), abs=1e-9)
    assert worth >= (1 - 1 / math.e) * reference.best(rows, k, budget)


def test_the_order_of_classes_does_not_break_ties() -> None:
    rows = [[0, 3, 2, 1], [1, 2, 3, 0], [2, 0, 1, 3], [3, 1, 0, 2]]
    pools = {tuple(common_pool(torch.tensor(some), 1, 1).tolist()) for some in permutations(rows)}
    assert len(pools) == 1


@given(rows=orders(), data=st.data())
@examples(60)
def test_every_class_has_its_best_of_the_pool(rows: list[list[int]], data: st.DataObject) -> None:
    filters = len(rows[0])
    k = data.draw(st.integers(1, filters))
    budget = data.draw(st.integers(k, filters))
    scores = -torch.tensor(rows).argsort(1).double()
    found = Selection.top(scores, k, budget=budget)
    pool = common_pool(torch.tensor(rows), k, budget)
    assert found.distinct <= budget
    assert [list(row) for row in found.filters] == [[j for j in row if pool[j]][:k] for row in rows]
    names = data.draw(st.permutations(range(len(rows))))
    assert Selection.top(scores[names], k, budget=budget).filters == tuple(found.filters[c] for c in names)


def test_ties_and_absent_classes_count_as_without_a_budget() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 4.0], [9.0, 9.0, 9.0, 9.0]])
    ties = torch.tensor([[0.0, 1.0, 0.0, 0.0]] * 3)
    present = torch.tensor([True, False, True])
    found = Selection.top(scores, 1, ties=ties, present=present, budget=1)
    assert found.filters == ((1,), (), (1,))  # the absent class's filters 2 and 3 are nobody's


def test_a_budget_of_all_filters_is_none() -> None:
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    assert Selection.top(scores, 3, budget=9) == Selection.top(scores, 3)


def batch() -> ResponseBatch:
    generator = torch.Generator().manual_seed(0)
    return ResponseBatch(torch.randn(30, FILTERS, generator=generator), torch.arange(30) % CLASSES, torch.arange(30))


def given_scores(evidence: object, k: int, context: Context) -> Tensor:  # noqa: ARG001
    assert context.budget is None  # strategies that do not say that they keep to one see none
    return torch.rand(CLASSES, FILTERS, generator=torch.Generator().manual_seed(1))


def given_selection(evidence: object, k: int, context: Context) -> Selection:  # noqa: ARG001
    return Selection.of([[0, 1], [2, 3], [4, 5]], FILTERS)


def chosen(spec: StrategySpec, k: int | float, budget: int | None) -> Selection:
    return choose(spec, evidence_of(batch(), [], CLASSES), k, Context(nn.ReLU(), budget=budget))


@pytest.mark.parametrize("budget", [2, 3, 8])
def test_scores_of_any_strategy_are_narrowed(budget: int) -> None:
    found = chosen(StrategySpec("made", select=given_scores), 2, budget)
    assert found.distinct <= budget
    assert found.size == 2


def test_a_selection_of_its_own_is_taken_only_if_it_keeps_to_the_budget() -> None:
    spec = StrategySpec("made", select=given_selection)
    assert chosen(spec, 2, 6).distinct == 6
    with pytest.raises(SelectionError, match="selected 6 different filters, more than the budget of 5: it does not"):
        chosen(spec, 2, 5)
    with pytest.raises(SelectionError, match="its author's mistake"):
        chosen(replace(spec, budgets=True), 2, 5)


@pytest.mark.parametrize(
    ("k", "budget", "message"),
    [
        (3, 2, "less than the k = 3 of each. Give a budget of 3 or more"),
        (3, 9, "the layer has 8. Choose from 3 to 8"),
        (0.5, 4, "not with the fraction"),
    ],
)
def test_budgets_that_cannot_be(k: int | float, budget: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(StrategySpec("made", select=given_scores, fractions=True), k, budget)


def test_classes_set_apart_stay_within_the_budget() -> None:
    alike = torch.tensor([[9.0, 8, 7, 0, 0, 0, 0, 6], [9, 8, 0, 7, 0, 0, 0, 6], [9, 7, 8, 0, 0, 0, 0, 6]])
    spec = StrategySpec("made", select=lambda _evidence, _k, _context: alike)
    evidence, context = evidence_of(batch(), [], CLASSES), Context(nn.ReLU(), budget=3)
    found = choose(spec, evidence, 2, context, distinct=True)
    assert len({frozenset(row) for row in found.filters}) == CLASSES
    assert found.distinct <= 3
