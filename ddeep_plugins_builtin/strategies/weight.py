"""The head's weights."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """W_cj: the head's weight from filter j to class c."""
    return context.needed_head().weight.double().cpu()
