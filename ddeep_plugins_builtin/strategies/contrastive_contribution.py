"""What a filter adds to the class's logit beyond the average logit."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """(W_cj − mean over all classes c′ of W_c′j)·μ_cj.

    Softmax sees only differences of logits: what a filter adds to all of them alike decides nothing.
    """
    weight = context.needed_head().weight.double().cpu()
    return (weight - weight.mean(0)) * class_means(evidence, evidence[ClassSums()].sums)
