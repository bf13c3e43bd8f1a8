"""Two networks on the same images: the difference of their accuracies, with an interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy.stats import binomtest
from torch import Tensor

DRAWS = 10_000


def paired_difference(before: Bool[Tensor, " n"], after: Bool[Tensor, " n"], seed: int = 0) -> dict[str, Any]:
    """Percentage points that ``after`` is more often right than ``before``, its paired bootstrap interval, and p.

    The bootstrap draws images with both answers (Efron & Tibshirani 1993, chapter 13), 95 %; the p-value is McNemar's
    exact one: of the images on which only one of the two is right, how many are the second's (McNemar 1947).
    """
    images = len(before)
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    shares = np.array([won, lost, images - won - lost]) / images
    drawn = np.random.default_rng(seed).multinomial(images, shares, size=DRAWS)
    differences = 100 * (drawn[:, 0] - drawn[:, 1]) / images
    return {
        "difference": 100 * (won - lost) / images,
        "interval": np.quantile(differences, [0.025, 0.975]).tolist(),
        "p_value": float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
        "images": images,
        "won": won,
        "lost": lost,
    }
