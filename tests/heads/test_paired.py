"""Intervals and differences against slow, obvious versions, and whether they keep what they promise."""

from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.experiments._standing import add_standing
from ddeep.heads.paired import accuracy_intervals, compare_paired, holm
from tests.support.effort import examples

Z = 1.959963984540054  # of the normal distribution, 97.5 %


@pytest.mark.parametrize(("right", "images"), [(887, 1000), (5, 40), (3999, 4000), (0, 100), (100, 100)])
def test_the_interval_is_wilsons(right: int, images: int) -> None:
    """By the formula: where |share - p| = z √(p (1 - p) / N)."""
    share = right / images
    middle = (share + Z**2 / (2 * images)) / (1 + Z**2 / images)
    half = Z / (1 + Z**2 / images) * sqrt(share * (1 - share) / images + Z**2 / (4 * images**2))
    expected = [100 * (middle - half), 100 * (middle + half)]
    assert accuracy_intervals(torch.tensor([right]), images)[0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("truth", [0.002, 0.01, 0.5, 0.9, 0.99, 0.998])
def test_it_covers_what_it_claims(truth: float) -> None:
    """In simulation, near the ends, too, where percentiles of a bootstrap cover 30 to 87 %."""
    images, random = 500, np.random.default_rng(0)
    drawn = random.binomial(images, truth, 4000)
    ends = accuracy_intervals(torch.arange(images + 1), images).numpy()[drawn]
    covered = ((ends[:, 0] <= 100 * truth) & (100 * truth <= ends[:, 1])).mean()
    assert covered >= 0.92


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[Tensor, Tensor]:
    """What two heads get right, of so many images each."""
    counts = torch.tensor([both, first, second, neither])
    return (
        torch.repeat_interleave(torch.tensor([True, True, False, False]), counts),
        torch.repeat_interleave(torch.tensor([True, False, True, False]), counts),
    )


@given(first=st.integers(0, 12), second=st.integers(0, 12))
@examples(40)
def test_the_p_value_counts_all_outcomes_as_unlikely(first: int, second: int) -> None:
    """McNemar's exact test: of the images on which they differ, how they could have fallen."""
    differ = first + second
    chances = [comb(differ, n) / 2**differ for n in range(differ + 1)]
    expected = sum(chance for chance in chances if chance <= chances[first] * (1 + 1e-9))
    assert compare_paired(*outcomes(30, first, second, 5)).p == pytest.approx(min(expected, 1))


def test_the_interval_is_where_resampling_images_leads() -> None:
    one, other = outcomes(800, 70, 40, 90)
    found = compare_paired(one, other)
    random = np.random.default_rng(1)
    gains = one.int().numpy() - other.int().numpy()
    drawn = [100 * gains[random.integers(0, len(gains), len(gains))].mean() for _ in range(10_000)]
    assert found.difference == pytest.approx(3.0)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.15)


def test_the_interval_of_a_difference_covers_what_it_claims() -> None:
    random, images, shares = np.random.default_rng(2), 400, [0.85, 0.06, 0.03, 0.06]
    covered = 0
    for trial in range(400):
        pair = compare_paired(*outcomes(*random.multinomial(images, shares).tolist()), seed=trial)
        covered += pair.low <= 3.0 <= pair.high
    assert 0.92 <= covered / 400 <= 0.98


def test_differences_are_told_where_single_intervals_overlap() -> None:
    one, other = outcomes(900, 30, 5, 65)
    low, high = (accuracy_intervals(right.sum()[None], 1000)[0].tolist() for right in (one, other))
    assert low[0] < high[1]
    found = compare_paired(one, other)
    assert found.p < 1e-4
    assert found.low > 0


def test_nothing_differs_from_itself() -> None:
    one, _ = outcomes(10, 5, 3, 2)
    assert compare_paired(one, one) == (0.0, 0.0, 0.0, 1.0)


@given(p_values=st.lists(st.floats(0, 1), max_size=8))
@examples(60)
def test_holm_steps_down(p_values: list[float]) -> None:
    """A row is found at a level where it, and all with smaller p, pass the level over those that are left."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        waiting, found = sorted(range(len(p_values)), key=lambda i: p_values[i]), set()
        while waiting and p_values[waiting[0]] * len(waiting) <= level:
            found.add(waiting.pop(0))
        assert {i for i, p in enumerate(adjusted) if p <= level} == found


def test_holm_keeps_the_chance_of_any_false_finding() -> None:
    """Ten heads as good as an eleventh, judged on the same images: seldom is one of them called different."""
    random, false = np.random.default_rng(3), 0
    for _ in range(200):
        outcome = torch.from_numpy(random.random((11, 300)) < 0.8)
        false += min(holm([compare_paired(right, outcome[0]).p for right in outcome[1:]])) <= 0.05
    assert false / 200 <= 0.08


def test_where_every_row_stands() -> None:
    generator = torch.Generator().manual_seed(0)
    full = torch.rand(2000, generator=generator) < 0.9
    right = torch.stack([full & (torch.rand(2000, generator=generator) < share) for share in (0.9, 1.0, 0.7)])
    right = torch.cat([right, (right[1] ^ (torch.rand(2000, generator=generator) < 0.001))[None]])
    rows: list[dict[str, object]] = [{"decomposed": 0.0} for _ in right]
    add_standing(rows, right, full, seed=0)
    best = int(right.sum(1).argmax())
    counts = right.sum(1).tolist()
    alike = [row["best_alike"] for row in rows]
    assert alike == [False, True, False, True]
    assert "best_difference" not in rows[best]
    for i in range(4):
        if i != best:
            assert rows[i]["best_difference"] == pytest.approx((counts[i] - counts[best]) / 20)
        assert rows[i]["full_difference"] == pytest.approx((counts[i] - int(full.sum())) / 20)
        assert rows[i]["full_p_holm"] >= rows[i]["full_p"]  # type: ignore[operator]
