"""How well a filter alone tells the class from all others."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K, RankSums, Statistic

BINS = 4096


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [RankSums(BINS)]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """The area under the ROC curve: P(r_c > r_¬c) + ½·P(r_c = r_¬c) for random images of class c and of the others.

    From a streamed histogram of 4,096 bins over each filter's range: a pair of images in one bin counts ½, so the
    error is at most half the share of such pairs; ``RankSums.areas`` gives that bound for every class and filter.
    Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27(8), 2006, section 7. ½ for classes
    without images or without others.
    """
    return evidence[RankSums(BINS)].areas(evidence.class_counts)[0]
