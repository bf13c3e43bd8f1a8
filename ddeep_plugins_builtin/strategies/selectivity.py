"""The class selectivity index, class by class."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means, other_means

EPSILON = 1e-7


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """(μ_cj − μ_¬c,j) / (μ_cj + μ_¬c,j + 1e-7), for non-negative responses.

    μ_cj is the mean response over class c, μ_¬c,j the mean of the other classes' means. Morcos et al., On the
    importance of single directions for generalization, ICLR 2018, take it for the class with the largest mean; here
    every class has its own.
    """
    means = class_means(evidence, evidence[ClassSums()].sums)
    others = other_means(means, evidence.present)
    return evidence.present[:, None] * (means - others) / (means + others + EPSILON)
