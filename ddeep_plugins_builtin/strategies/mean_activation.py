"""A class's largest mean responses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """μ_cj: the mean response of filter j over the images of class c."""
    return class_means(evidence, evidence[ClassSums()].sums)
