"""Filters by |response|, largest first, for many images at once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_LARGEST = 0x7FFFFFFF  # the bits of a float32 without its sign
_INDEX = 0xFFFFFFFF


def rank_magnitudes(
    responses: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """|responses| of every image in descending order, and whose they are; among equals the smaller index first."""
    magnitudes = responses.abs()
    if magnitudes.device.type == "cpu" and magnitudes.dtype == torch.float32 and not torch.compiler.is_compiling():
        return _by_keys(magnitudes)
    values, order = torch.sort(magnitudes, dim=1, descending=True, stable=True)
    return values, order


def _by_keys(magnitudes: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Value and index packed into one integer, and those sorted by numpy's vectorised sort: many times faster.

    Floats that are not negative are in the order of their bits. Keys hold what the bits lack of the largest, which is
    their complement, above the index, so that ascending keys are descending values, and equal values ascending indices.
    """
    keys = magnitudes.view(torch.int32).bitwise_xor(_LARGEST).long().bitwise_left_shift_(32)
    keys += torch.arange(magnitudes.shape[1])
    keys.numpy().sort(axis=1)
    values = (keys >> 32).int().bitwise_xor_(_LARGEST).view(torch.float32)
    return values, keys.bitwise_and_(_INDEX)
