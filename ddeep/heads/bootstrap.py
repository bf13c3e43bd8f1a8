"""Bootstrap intervals of accuracies, in closed form."""

from __future__ import annotations

from jaxtyping import Float, Int64
from scipy.stats import binom
from torch import Tensor, tensor

LEVEL = 0.95


def accuracy_intervals(right: Int64[Tensor, " h"], images: int, level: float = LEVEL) -> Float[Tensor, "h 2"]:
    """Percentile bootstrap intervals, in percent, of accuracies with ``right`` of ``images`` classified correctly.

    Drawing N images with replacement from N of which R are right gives a binomial number of right ones, of share R/N:
    the bootstrap's distribution is known exactly, so nothing need be drawn (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, section 5.3 and chapter 13). Without width where all images are right, or none.
    """
    share = right.double().numpy() / images
    tail = (1 - level) / 2
    ends = [100 * binom.ppf(quantile, images, share) / images for quantile in (tail, 1 - tail)]
    return tensor(list(zip(*ends, strict=True)), dtype=right.double().dtype).view(-1, 2)
