"""What a filter adds to the class's logit."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """W_cj·μ_cj: the mean, over the images of class c, of what filter j adds to the logit of c."""
    weight = context.needed_head().weight.double().cpu()
    return weight * class_means(evidence, evidence[ClassSums()].sums)
