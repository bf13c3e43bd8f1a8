"""What can be told apart: accuracies and differences judged on the same images (docs/mathematics.md, Comparison)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.stats import binomtest
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 10_000


def accuracy_intervals(right: Int64[Tensor, " h"], images: int, level: float = LEVEL) -> Float[Tensor, "h 2"]:
    """Wilson's score intervals, in percent, of accuracies with ``right`` of ``images`` classified correctly.

    They keep their promise near 0 and 100 %, too (Wilson, JASA 22(158), 1927; Brown, Cai & DasGupta, Statistical
    Science 16(2), 2001).
    """
    found = [binomtest(count, images).proportion_ci(level, method="wilson") for count in right.tolist()]
    ends = [(100 * interval.low, 100 * interval.high) for interval in found]
    return torch.tensor(ends, dtype=torch.float64).view(-1, 2)


class Paired(NamedTuple):
    """Accuracy less another's on the same images, in points, with its interval, and McNemar's exact p-value."""

    difference: float
    low: float
    high: float
    p: float


def compare_paired(
    right: Bool[Tensor, " n"], others: Bool[Tensor, " n"], *, seed: int = 0, level: float = LEVEL
) -> Paired:
    """The difference in images classified correctly, by ``right`` and by ``others``, image by image.

    The interval is the bootstrap's over images, both outcomes of an image drawn together: of N images drawn with
    replacement, those that only one gets right are multinomial, so 10,000 draws take no pass over the images (Efron &
    Tibshirani 1993, chapter 13). The p-value is two-sided: of the images on which the two differ, each is as likely to
    favour either (McNemar, Psychometrika 12, 1947).
    """
    images = len(right)
    gained, lost = int((right & ~others).sum()), int((~right & others).sum())
    shares = [gained / images, lost / images, (images - gained - lost) / images]
    drawn = np.random.default_rng(seed).multinomial(images, shares, RESAMPLES)
    differences = 100 * (drawn[:, 0] - drawn[:, 1]) / images
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]).tolist()
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Paired(100 * (gained - lost) / images, low, high, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that the chance of any false finding among them stays at the level.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2), 1979.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[at]))
        adjusted[at] = largest
    return adjusted
