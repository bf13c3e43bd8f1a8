"""Gradient times activation."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, GradientSums, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [GradientSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Mean over the images of class c of g_nj = Σ_positions a·∂z_c/∂a: activation a of filter j, logit z_c.

    Shrikumar et al., arXiv 1605.01713. At the layer before the head it equals ``contribution``, W_cj·μ_cj.

    The gradient is that of the true class's *logit*, not of the loss: where the network is sure, as on nearly all
    images it was trained on, the loss is flat and its gradient says nothing, while the logit's stays.
    """
    return class_means(evidence, evidence[GradientSums()].signed)
