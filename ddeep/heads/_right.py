"""Which images are classified correctly."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def which_right(
    logits: Float[Tensor, "h c n"], labels: Int64[Tensor, " n"], rival: Float[Tensor, " n"] | None = None
) -> Bool[Tensor, "h n"]:
    """Whether the largest logit is that of the label, among equals the one of the smallest class.

    It must also be no smaller than the ``rival``, where there is one.

    The labels' own logits are overwritten. Many times faster on the CPU than ``argmax`` along this dimension.
    """
    truth = labels.expand(len(logits), 1, -1)
    own = logits.gather(1, truth)[:, 0]
    others = logits.scatter_(1, truth, -torch.inf).amax(1)
    right = own > others
    heads, images = (own == others).nonzero(as_tuple=True)
    right[heads, images] = labels[images] < logits[heads, :, images].argmax(1)
    return right if rival is None else right & (own >= rival)
