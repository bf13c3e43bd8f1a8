"""Jaccard overlap and rank agreement of selections."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.selections import agreement
from ddeep.selections.agreement import jaccard, rank_agreement
from ddeep.selections.selection import Selection
from tests.reference import agreement as reference
from tests.support.effort import examples

FILTERS = 7
lists = st.lists(st.permutations(range(FILTERS)).flatmap(lambda p: st.integers(1, 5).map(lambda k: p[:k])), min_size=3)


@given(first=lists.map(lambda rows: rows[:3]), second=lists.map(lambda rows: rows[:3]))
@examples(60)
def test_against_the_reference(first: list[list[int]], second: list[list[int]]) -> None:
    both = [Selection.of(rows, FILTERS) for rows in (first, second)]
    overlap, ranks = jaccard(both), rank_agreement(both)
    assert overlap[0, 1].item() == pytest.approx(reference.jaccard(first, second))
    if all(len({*a, *b}) > 1 for a, b in zip(first, second, strict=True)):
        assert ranks[0, 1].item() == pytest.approx(reference.rank_agreement(first, second))
    assert torch.equal(overlap, overlap.T)
    assert overlap.diagonal().tolist() == [1, 1]


def test_what_the_ends_of_the_scale_mean() -> None:
    one = Selection.of([[0, 1, 2]], FILTERS)
    others = [Selection.of([row], FILTERS) for row in ([0, 1, 2], [2, 1, 0], [3, 4, 5])]
    assert jaccard([one, *others])[0].tolist() == [1, 1, 1, 0]
    same, reverse, apart = rank_agreement([one, *others])[0, 1:].tolist()
    assert same == pytest.approx(1)
    assert reverse == pytest.approx(-1)
    assert -1 < apart < 0


def test_absent_classes_are_left_out() -> None:
    one = Selection.of([[0, 1], []], FILTERS, absent=[1])
    other = Selection.of([[1, 2], []], FILTERS, absent=[1])
    assert jaccard([one, other])[0, 1].item() == pytest.approx(1 / 3)
    assert rank_agreement([one, other])[0, 1].item() == pytest.approx(reference.rank_agreement([[0, 1]], [[1, 2]]))


def test_single_filters_have_no_order() -> None:
    one = Selection.of([[0]], FILTERS)
    assert rank_agreement([one, one])[0, 1].isnan()


def test_classes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [Selection.top(torch.rand(9, FILTERS, generator=generator), 3) for _ in range(2)]
    whole = rank_agreement(drawn)
    monkeypatch.setattr(agreement, "CELLS", 50)
    assert torch.allclose(rank_agreement(drawn), whole)
