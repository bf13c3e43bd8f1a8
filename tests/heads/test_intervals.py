"""Bootstrap intervals against what resampling gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddeep.heads.null import accuracy_intervals


@pytest.mark.parametrize(("right", "images"), [(887, 1000), (5, 40), (3999, 4000)])
def test_it_is_where_resampling_leads(right: int, images: int) -> None:
    outcomes = np.arange(images) < right
    random = np.random.default_rng(0)
    drawn = np.array([100 * outcomes[random.integers(0, images, images)].mean() for _ in range(20_000)])
    low, high = accuracy_intervals(torch.tensor([right]), images)[0].tolist()
    step = 100 / images
    assert low == pytest.approx(np.quantile(drawn, 0.025), abs=1.01 * step)
    assert high == pytest.approx(np.quantile(drawn, 0.975), abs=1.01 * step)
    assert low <= 100 * right / images <= high


def test_many_at_once_and_the_ends() -> None:
    found = accuracy_intervals(torch.tensor([0, 50, 100]), 100)
    assert found[0].tolist() == [0, 0]
    assert found[2].tolist() == [100, 100]
    assert found[1].tolist() == accuracy_intervals(torch.tensor([50]), 100)[0].tolist()
    wide = accuracy_intervals(torch.tensor([50]), 100, level=0.99)[0]
    assert wide[0] < found[1][0] < found[1][1] < wide[1]
