"""Mean response in the class against the other classes."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means, other_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """μ_cj − μ_¬c,j: μ_cj is the mean response over class c, μ_¬c,j the mean of the other classes' means.

    Every class weighs the same in μ_¬c,j, however many images it has. With one class only, μ_¬c,j is 0.
    """
    means = class_means(evidence, evidence[ClassSums()].sums)
    return means - other_means(means, evidence.present)
