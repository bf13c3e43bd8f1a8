"""First-order Taylor estimate of a filter's importance."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, GradientSums, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [GradientSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Mean over the images of class c of |g_nj|, g_nj = Σ_positions a·∂z_c/∂a: activation a of filter j, logit z_c.

    |g_nj| estimates by how much z_c would change without the filter. Molchanov et al., Pruning convolutional neural
    networks for resource efficient inference, ICLR 2017, equation 8; the sum over positions for their mean leaves
    the order as it is.

    The gradient is that of the true class's *logit*, not of the loss: where the network is sure, as on nearly all
    images it was trained on, the loss is flat and its gradient says nothing, while the logit's stays.
    """
    return class_means(evidence, evidence[GradientSums()].absolute)
