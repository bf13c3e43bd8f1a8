"""Filters by |response|: the same order as a stable sort gives, whatever the values."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddeep.statistics.batch import rank_magnitudes
from tests.support.effort import examples

ANY = st.floats(width=32, allow_nan=False)
TIED = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 1e-45, -1e-45, float("inf"), 3.4e38])


@given(data=st.data(), shape=arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
@examples(60)
def test_order_and_values_are_those_of_a_stable_sort(data: st.DataObject, shape: tuple[int, ...]) -> None:
    responses = torch.from_numpy(data.draw(arrays.arrays(np.float32, shape, elements=ANY | TIED)))
    values, order = torch.sort(responses.abs(), dim=1, descending=True, stable=True)
    before = responses.clone()
    for given_responses in (responses, responses.T.contiguous().T, responses.double()):
        found, ranking = rank_magnitudes(given_responses)
        assert torch.equal(found, values.to(found.dtype))
        assert torch.equal(ranking, order)
    assert torch.equal(responses, before)


def test_nothing_is_lost_of_a_wide_layer() -> None:
    responses = torch.randn(3, 70_000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    values, order = torch.sort(responses.abs(), dim=1, descending=True, stable=True)
    assert torch.equal(rank_magnitudes(responses)[0], values)
    assert torch.equal(rank_magnitudes(responses)[1], order)
