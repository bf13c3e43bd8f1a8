"""Selections: tie rules, absent classes, files that make a round trip, and hostile ones that do not get in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.errors import ConfigError, SelectionError
from ddeep.selections.selection import Selection, rank_filters
from tests.support.effort import examples

_FEW = st.sampled_from([0.0, 1.0, 2.0])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]]]:
    """Scores and ties (C, K) with many equals."""
    classes, filters = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    table = st.lists(st.lists(_FEW, min_size=filters, max_size=filters), min_size=classes, max_size=classes)
    return draw(table), draw(table)


@given(both=tables(), data=st.data())
@examples(60)
def test_the_best_come_first_equals_by_ties_then_by_index(
    both: tuple[list[list[float]], list[list[float]]], data: st.DataObject
) -> None:
    scores, ties = both
    k = data.draw(st.integers(1, len(scores[0])))
    found = Selection.top(torch.tensor(scores), k, ties=torch.tensor(ties))
    for row, tie, chosen, its in zip(scores, ties, found.filters, found.scores, strict=True):
        expected = sorted(range(len(row)), key=lambda j: (-row[j], -tie[j], j))[:k]
        assert list(chosen) == expected
        assert list(its) == [row[j] for j in expected]
    assert rank_filters(torch.tensor(scores))[0].tolist() == sorted(
        range(len(scores[0])), key=lambda j: (-scores[0][j], j)
    )


def test_rounding_does_not_decide() -> None:
    """Equal but for the last bits: ties; a step of 1e-9 is one, however small the scores."""
    third = 0.1 + 0.2 - 0.3  # 5.6e-17
    rows = [[1.0, 1.0 + 3e-16, 0.5, 0.5 - 1e-13, 0.5 + 5e-10], [third, 0.0, third * (1 + 1e-14), -1.0, 1.0]]
    scores = torch.tensor([*rows, [1e-20, 2e-20, 2e-20, 0.0, 3e-20]], dtype=torch.float64)
    assert rank_filters(scores).tolist() == [[0, 1, 4, 2, 3], [4, 0, 2, 1, 3], [4, 1, 2, 0, 3]]
    by_tie = rank_filters(scores[:1], torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]]))
    assert by_tie.tolist() == [[1, 0, 4, 3, 2]]


def test_absent_classes_have_no_filters_and_a_full_row_in_the_mask() -> None:
    found = Selection.top(torch.rand(3, 4), 2, present=torch.tensor([True, False, True]))
    assert found.absent == (1,)
    assert found.filters[1] == ()
    assert found.mask()[1].all()
    assert found.mask().sum(1).tolist() == [2, 4, 2]
    assert found.membership().shape == (2, 4)
    assert found.membership().sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_must_fit_the_layer(k: int) -> None:
    with pytest.raises(ConfigError, match=rf"k = {k} filters per class, but the layer has 4\. Choose k from 1 to 4"):
        Selection.top(torch.rand(3, 4), k)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_must_be_finite(value: float) -> None:
    scores = torch.rand(3, 4)
    scores[1, 2] = value
    with pytest.raises(SelectionError, match="NaN or infinite"):
        Selection.top(scores, 2)


@given(scores=st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), shift=st.permutations(range(4)))
@examples(20)
def test_permuting_filters_permutes_the_selection(scores: list[float], shift: list[int]) -> None:
    if len(set(scores)) < 4:
        return  # equals go by index, which a permutation changes
    table: Tensor = torch.tensor([scores])
    plain, permuted = Selection.top(table, 2), Selection.top(table[:, shift], 2)
    assert [shift[j] for j in permuted.filters[0]] == list(plain.filters[0])


Call = Callable[[], Selection]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Selection.of([[5]], 5),
        lambda: Selection.of([[0, 0]], 5),
        lambda: Selection.of([[]], 5),
        lambda: Selection.of([[0]], 5, scores=[[1.0, 2.0]]),
        lambda: Selection.of([[0]], 5, scores=[[float("nan")]]),
        lambda: Selection.of([[0]], 5, absent=[3]),
        lambda: Selection.of([[0]], 5, absent=[0]),
    ],
)
def test_no_selection_can_be_made_that_breaks_the_rules(make: Call) -> None:
    with pytest.raises(SelectionError):
        make()
