"""From uint8 pixels to what a network was trained on. Preprocessing belongs to weights, not to datasets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError, DataError
from ..registry.specs import Interpolation, WeightsSpec

# Pillow's own limit: 256 MB as RGB. Larger images are refused, before and after resizing.
MAX_PIXELS = 89_478_485


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to ``resize``, crop the central ``size`` × ``size``, then (x / 255 - mean) / std.

    With ``squash`` both sides become ``resize``, whatever their proportion. ``mean`` and ``std`` are per RGB channel,
    of values in 0…1. Equal settings compare and hash equal.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    resize: int
    interpolation: Interpolation = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ConfigError(f"mean and std take three numbers each (RGB), not {self.mean} and {self.std}.")
        if not all(0 < value < float("inf") for value in self.std):
            raise ConfigError(f"std must be three positive numbers, not {self.std}.")
        if not 0 < self.size <= self.resize:
            raise ConfigError(
                f"Images resized to {self.resize} cannot be cropped to {self.size}: resize at least that."
            )
        if self.interpolation not in _MODES:
            raise ConfigError(f"Interpolation {self.interpolation!r} is not one of {', '.join(_MODES)}.")

    def __str__(self) -> str:
        """The recipe in one line."""
        crop = f"{self.size} px" if self.resize == self.size else f"{self.size} px of {self.resize}"
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{crop}{', squashed' if self.squash else ''}, {self.interpolation}, mean {mean}, std {std}"

    @classmethod
    def of(cls, weights: WeightsSpec) -> Preprocessing:
        """The preprocessing these weights were trained with."""
        resize = weights.size if weights.resize is None else weights.resize
        mean, std = tuple(map(float, weights.mean)), tuple(map(float, weights.std))
        return cls(mean, std, weights.size, resize, weights.interpolation, weights.squash)

    def identity(self) -> dict[str, Any]:
        """The settings as JSON-ready data, for cache keys and run files."""
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if not self.squash:  # as files have it that are older than the word
            del settings["squash"]
        return settings

    @property
    def nbytes(self) -> int:
        """Of one image as the network sees it, before it is normalised."""
        return 3 * self.size * self.size

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the shorter side, or both, have become ``resize`` (torchvision's rounding)."""
        if self.squash:
            return self.resize, self.resize
        shorter, longer = sorted((height, width))
        if shorter < 1 or self.resize * self.resize * longer // shorter > MAX_PIXELS:
            raise DataError(
                f"An image of {width} × {height} pixels cannot be resized to {self.resize} on its short side."
            )
        far = int(self.resize * longer / shorter)
        return (far, self.resize) if height > width else (self.resize, far)

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the central crop (torchvision's rounding)."""
        return round((height - self.size) / 2.0), round((width - self.size) / 2.0)

    def fit(self, pixels: UInt8[Tensor, "n h w 3"]) -> UInt8[Tensor, "n s s 3"]:
        """Resize and crop a batch on its device; a batch that already fits comes back as it is."""
        height, width = pixels.shape[1:3]
        target = self.resized(height, width)
        if target != (height, width):
            pixels = _interpolated(pixels.permute(0, 3, 1, 2), target, self.interpolation).permute(0, 2, 3, 1)
        top, left = self.corner(*target)
        return pixels[:, top : top + self.size, left : left + self.size]

    def normalise(self, pixels: UInt8[Tensor, "n s s 3"]) -> Float32[Tensor, "n 3 s s"]:
        """Fitted pixels as network input in channels-last memory; torchvision's ToTensor and Normalize to 1e-6."""
        if pixels.shape[1:3] != (self.size, self.size):
            raise DataError(f"These pixels are {tuple(pixels.shape)}, not {self.size} × {self.size}: fit() them first.")
        rows = pixels.reshape(-1, self.size, 3 * self.size).to(torch.float32)
        # Constants of a whole row: with an inner dimension of 3 nothing vectorises, and this takes ten times longer.
        scale, shift = _row_constants(self.mean, self.std, self.size, pixels.device)
        torch.addcmul(shift, rows, scale, out=rows)
        return rows.view(-1, self.size, self.size, 3).permute(0, 3, 1, 2)


_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


@lru_cache(maxsize=32)
def _row_constants(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Float32[Tensor, " row"], Float32[Tensor, " row"]]:
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    # Cached: an inference tensor made inside somebody's inference_mode() would follow them out of it.
    with torch.inference_mode(mode=False):
        return torch.tensor(scale * width, device=device), torch.tensor(shift * width, device=device)


def _interpolated(
    images: UInt8[Tensor, "n 3 h w"], target: tuple[int, int], interpolation: Interpolation
) -> UInt8[Tensor, "n 3 th tw"]:
    mode = _MODES[interpolation]
    antialias = interpolation != "nearest"
    if images.device.type == "cpu" or not antialias:
        return F.interpolate(images, target, mode=mode, antialias=antialias)
    # Only the CPU has antialiasing kernels for uint8. Rounded, so that every device sees the same pixels.
    resized = F.interpolate(images.to(torch.float32), target, mode=mode, antialias=antialias)
    return resized.round_().clamp_(0, 255).to(torch.uint8)
