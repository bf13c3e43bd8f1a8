"""The filters in a mask as lists of one length, against a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.selections.members import members
from tests.support.effort import examples


@given(seed=st.integers(0, 999), shape=st.sampled_from([(4, 6), (2, 3, 5), (1, 1), (3, 1, 9)]), share=st.floats(0, 1))
@examples(30)
def test_they_are_those_of_every_row(seed: int, shape: tuple[int, ...], share: float) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    filters, taken = members(mask)
    rows = mask.flatten(0, -2).tolist()
    expected = [[j for j, own in enumerate(row) if own] for row in rows]
    assert filters.shape == taken.shape == (*shape[:-1], max(1, *map(len, expected), 1))
    pairs = zip(filters.flatten(0, -2).tolist(), taken.flatten(0, -2).tolist(), strict=True)
    found = [[j for j, own in zip(*pair, strict=True) if own] for pair in pairs]
    assert found == expected
    assert not filters[~taken].any()


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_no_row_or_no_filter_has_none(shape: tuple[int, int]) -> None:
    filters, taken = members(torch.zeros(shape, dtype=torch.bool))
    assert filters.shape == (shape[0], 1)
    assert not taken.any()
