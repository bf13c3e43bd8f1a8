"""Augmentation of a whole batch at once, on its device, in uint8."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F


def draw(
    count: int, padding: int, flip: bool, generator: torch.Generator
) -> tuple[Int64[Tensor, "n 2"], Bool[Tensor, " n"]]:
    """Random crops and flips of ``count`` images: the top left corners, 0…2·padding, and which to mirror.

    ``generator`` is the CPU's, so that every device sees the same augmentation.
    """
    corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=generator)
    flipped = torch.rand(count, generator=generator) < (0.5 if flip else 0.0)
    return corners, flipped


def crop_and_flip(
    pixels: UInt8[Tensor, "n h w 3"],
    padding: int,
    corners: Int64[Tensor, "n 2"],
    flipped: Bool[Tensor, " n"],
) -> UInt8[Tensor, "n h w 3"]:
    """Pad with black, cut ``h`` by ``w`` at ``corners`` (top, left), then mirror where ``flipped``.

    What torchvision's RandomCrop(padding=…) and RandomHorizontalFlip do to single images.
    """
    count, height, width, _ = pixels.shape
    device = pixels.device
    corners, flipped = corners.to(device), flipped.to(device)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding)) if padding else pixels
    rows = corners[:, :1] + torch.arange(height, device=device)
    across = torch.arange(width, device=device)
    columns = corners[:, 1:] + torch.where(flipped[:, None], across.flip(0), across)
    images = torch.arange(count, device=device)
    return padded[images[:, None, None], rows[:, :, None], columns[:, None, :]]
