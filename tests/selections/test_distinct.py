"""No two classes with the same filters, at the least loss, or an error that says why not."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.errors import SelectionError
from ddeep.selections.distinct import set_apart, twins
from ddeep.selections.selection import Selection
from tests.reference.twins import pairs
from tests.support.effort import examples


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 6), k=st.integers(1, 3))
@examples(40)
def test_no_two_are_alike_and_others_stay(seed: int, classes: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(1, 8, generator=generator) + 0.1 * torch.rand(classes, 8, generator=generator)  # much alike
    before = Selection.top(scores, k)
    after = set_apart(before, scores)
    assert pairs([list(row) for row in after.filters]) == 0
    assert pairs([list(row) for row in before.filters]) >= len(twins(before))
    grouped = {c for group in twins(before) for c in group}
    assert all(before.filters[c] == after.filters[c] for c in range(classes) if c not in grouped)
    for c, (row, scored) in enumerate(zip(after.filters, after.scores, strict=True)):
        assert list(scored) == pytest.approx(scores[c, list(row)].tolist())
        assert list(scored) == sorted(scored, reverse=True)


def test_the_exchange_that_costs_least_is_made() -> None:
    scores = torch.tensor([[9.0, 5.0, 1.0, 0.0], [9.0, 5.0, 4.0, 0.0]])
    before = Selection.top(scores, 2)
    costs = [
        scores[c, list(before.filters[c])].sum() - scores[c, list(row)].sum()
        for c in (0, 1)
        for row in combinations(range(4), 2)
        if set(row) != {0, 1} and len(set(row) & {0, 1}) == 1
    ]
    after = set_apart(before, scores)
    assert after.filters == ((0, 1), (0, 2))
    assert scores[1, [0, 1]].sum() - scores[1, [0, 2]].sum() == min(costs)


def test_what_cannot_be_set_apart_says_so() -> None:
    alike = Selection.of([[0, 1], [1, 0], [2, 1]], 3)
    assert twins(alike) == [[0, 1]]
    with pytest.raises(
        SelectionError, match="Classes 0 and 1 have the same filters, and the strategy scores no others"
    ):
        set_apart(alike, None)
    few = Selection.of([[0], [0], [0]], 2)
    with pytest.raises(SelectionError, match=r"there are too few filters\. Choose another k"):
        set_apart(few, torch.rand(3, 2))
    different = Selection.of([[0], [1]], 2)
    assert set_apart(different, None) is different
