"""What the joint selection takes of memory: known, and refused where it is not there, before the work."""

from __future__ import annotations

import psutil
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import ConfigError

from .objective import GATHERED

NUMBERS = 2**30  # images × (filters + 4 × classes); beyond it a random sample of the images must do


def most_images(filters: int, classes: int) -> int:
    """As many images as ``NUMBERS`` allows."""
    return max(1, NUMBERS // (filters + 4 * classes))


def sampled(
    responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], classes: int, generator: torch.Generator
) -> tuple[Float[Tensor, "m k"], Int64[Tensor, " m"]]:
    """All images, or as many at random as ``NUMBERS`` allows."""
    most = most_images(responses.shape[1], classes)
    if len(labels) <= most:
        return responses, labels
    chosen = torch.randperm(len(labels), generator=generator)[:most].sort().values.to(labels.device)
    return responses[chosen], labels[chosen]


def nbytes(images: int, filters: int, classes: int, width: int) -> int:
    """Bytes at the peak: inputs and four tables of logits, tables of all weights, gathered columns."""
    return (
        4 * images * (filters + 1 + 4 * classes) + 8 * (3 * filters**2 + classes * filters * (width + 8)) + 3 * GATHERED
    )


def check_memory(images: int, filters: int, classes: int, width: int, device: torch.device) -> None:
    """Raise ConfigError where it would not fit."""
    wanted = nbytes(images, filters, classes, width)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if wanted > free:
        size = f"{images} images, {classes} classes, {filters} filters"
        raise ConfigError(
            f"pruned-refit takes {wanted / 2**30:.1f} GiB here ({size}), more than the {free / 2**30:.1f} GiB free on "
            f"{device}. Choose `gram`, which keeps no responses, or fewer images."
        )
