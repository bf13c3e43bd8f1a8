"""Logits, looked at wherever a network is run: among NaN the first class is the largest, and nobody would notice."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, DataError


def check_logits(output: object, images: int) -> Float[Tensor, "n c"]:
    """What a network returned for ``images`` images, in float32.

    Raises ConfigError unless that is a tensor ``(N, C)``, and DataError where any of it is not finite.
    """
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != images:
        shown = f"tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(f"The network returns a {shown} for {images} images, not logits (N, C).")
    check_finite(output)
    return output.float()


def check_finite(output: object) -> None:
    """Raise DataError where ``output`` is a tensor that holds NaN or infinite numbers."""
    if isinstance(output, Tensor) and not output.is_meta and not bool(torch.isfinite(output).all()):
        raise DataError(NOT_FINITE)


NOT_FINITE = (
    "The network gives NaN or infinite logits. Check the weights, the images, and the mean and std of the "
    "preprocessing; in bf16, try --precision fp32."
)
