"""How much more often a filter fires for the class."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K, Statistic, ZeroSums, class_means, other_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ZeroSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """f_cj − f_¬c,j: f_cj = 1 − APoZ is the share of positions and images of class c at which filter j is not zero.

    f_¬c,j is the mean over the other classes. APoZ, the average percentage of zeros, is from Hu et al., Network
    Trimming, arXiv 1607.03250, equation 1. Meant for layers after a ReLU: elsewhere nothing is ever exactly zero.
    """
    rates = 1 - class_means(evidence, evidence[ZeroSums()].sums)
    return evidence.present[:, None] * (rates - other_means(rates, evidence.present))
