"""The filters in a mask, as lists of one length."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def members(mask: Bool[Tensor, "*r k"]) -> tuple[Int64[Tensor, "*r m"], Bool[Tensor, "*r m"]]:
    """Of every row the filters in ``mask``, in order, and which of these places are taken.

    There are as many places as the largest row needs, at least one; those that are not taken name filter 0.
    """
    counts = mask.sum(-1)
    width = max(1, int(counts.max())) if counts.numel() else 1
    taken = torch.arange(width, device=mask.device) < counts[..., None]
    filters = torch.zeros(taken.shape, dtype=torch.int64, device=mask.device)
    filters[taken] = mask.nonzero()[:, -1]
    return filters, taken
