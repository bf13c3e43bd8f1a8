"""Logits, looked at wherever a network is run: among NaN the first class is the largest, and nobody would notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, DataError


def check_logits(output: object, images: int) -> Float[Tensor, "n c"]:
    """The logits in what a network returned for ``images`` images, in float32.

    Raises ConfigError unless there are some ``(N, C)`` (``read_logits``), and DataError where any is not finite.
    """
    logits = read_logits(output)
    if logits.dim() != 2 or len(logits) != images:
        raise ConfigError(
            f"The network returns a tensor of shape {tuple(logits.shape)} for {images} images, not logits (N, C)."
        )
    check_finite(logits)
    return logits.float()


def check_finite(output: object) -> None:
    """Raise DataError where ``output`` is a tensor that holds NaN or infinite numbers."""
    if isinstance(output, Tensor) and not output.is_meta and not bool(torch.isfinite(output).all()):
        raise DataError(NOT_FINITE)


NOT_FINITE = (
    "The network gives NaN or infinite logits. Check the weights, the images, and the mean and std of the "
    "preprocessing; in bf16, try --precision fp32."
)


def read_logits(output: Any) -> Tensor:
    """The logits in what a network returns: a tensor as it is, else the ``logits`` that it names (an attribute or a
    key, as in the outputs of transformers and of networks with auxiliary heads), else its first tensor ``(N, C)``.

    Raises ConfigError, which says what was returned, where there is none.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    parts = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(parts, list | tuple):
        for part in parts:
            if isinstance(part, Tensor) and part.ndim == 2:
                return part
    raise ConfigError(
        f"The network returns a {_shown(output)}, in which there are no logits (N, C). Return them as a tensor, "
        "as the first of a tuple, or named `logits`."
    )


def _shown(output: Any) -> str:
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"{kind} of {', '.join(map(str, list(output)[:5])) or 'nothing'}"
    if isinstance(output, list | tuple):
        parts = (str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in output[:5])
        return f"{kind} of {', '.join(parts) or 'nothing'}"
    return kind
