"""The null: filters drawn at random."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Independent uniform scores in [0, 1) for every class and filter, from the context's seed."""
    return torch.rand(evidence.classes, evidence.filters, generator=context.generator(), dtype=torch.float64)
