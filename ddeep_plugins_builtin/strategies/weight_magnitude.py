"""The head's weights, whatever their sign."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """|W_cj|: magnitude pruning of the head.

    Han et al., Learning both weights and connections for efficient neural networks, NeurIPS 2015.
    """
    return context.needed_head().weight.double().cpu().abs()
