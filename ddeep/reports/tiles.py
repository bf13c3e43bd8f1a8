"""Small pictures of images and of where on them a filter is active."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.hooks import forward_hooks
from ..networks.layer import Layer

SIDE = 96  # pixels of a tile
BATCH = 32
_DIM = 0.42  # what is left of an image's light where a filter is silent
_RIM = (255, 176, 0)  # the line around the active region: amber, seen on light, dark and grey alike
_RIM_AT = 0.5  # of the largest activation on the image


@dataclass(frozen=True)
class Maps:
    """Activation maps ``(N, F, h, w)`` of some filters on some images."""

    values: Float[Tensor, "n f h w"]
    filters: tuple[int, ...]

    def of(self, image: int, filter_: int) -> Float[Tensor, "h w"]:
        """The map of one filter on one image."""
        return self.values[image, self.filters.index(filter_)]


def activation_maps(
    module: nn.Module,
    layer: Layer,
    images: Float[Tensor, "n c h w"],
    filters: Sequence[int],
    device: torch.device,
) -> Maps | None:
    """The maps of ``filters`` at ``layer`` on normalised ``images``; None where it has no positions that lie on them.

    Tokens are put back on their grid, a class token left out. ``module`` is in eval mode on the CPU, and ends there.
    """
    latest: list[Tensor] = []
    parts: list[Tensor] = []
    hooks = forward_hooks(module, {layer.name: lambda _module, _inputs, output: latest.append(output)})
    try:
        module.to(device)
        with hooks, torch.no_grad():
            for batch in torch.split(images, BATCH):
                latest.clear()
                module(batch.to(device))
                maps = on_the_image(latest[-1], layer)  # a layer called several times is read at its last call
                if maps is None:
                    return None
                parts.append(maps[:, list(filters)].float().cpu())
    finally:
        module.to("cpu")
    return Maps(torch.cat(parts), tuple(filters))


def on_the_image(output: Tensor, layer: Layer) -> Float[Tensor, "n k h w"] | None:
    """A layer's output as maps; None where it has no positions, or tokens that form no square grid."""
    if output.dim() == 4:
        return output if layer.layout == "NCHW" else output.permute(0, 3, 1, 2)
    if output.dim() != 3:
        return None
    for extra in (0, 1, 2, 5):  # tokens before the grid: none, a class token, another of distillation, four registers
        side = math.isqrt(max(0, output.shape[1] - extra))
        if side > 1 and side * side == output.shape[1] - extra:
            return output[:, extra:].transpose(1, 2).reshape(len(output), -1, side, side)
    return None


def spotlight(
    pixels: UInt8[Tensor, "s s 3"], activation: Float[Tensor, "h w"], side: int = SIDE
) -> UInt8[np.ndarray, "side side 3"]:
    """The image, lit where the filter is active and dim elsewhere, with a line around the most active region.

    ``activation`` is upsampled bilinearly; 0 and below is dim, its largest value fully lit. The line runs at half of
    that.
    """
    image = enlarged(pixels, side).astype(np.float32)
    wide = F.interpolate(activation[None, None].double(), (side, side), mode="bilinear", align_corners=False)[0, 0]
    light = (wide / wide.max() if wide.max() > 0 else torch.zeros_like(wide)).clamp(0, 1).numpy()
    grey = image.mean(2, keepdims=True)
    strength = np.sqrt(light)[..., None].astype(np.float32)
    lit = (grey + (image - grey) * strength) * (_DIM + (1 - _DIM) * strength)
    inside = light >= _RIM_AT
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    lit[inside & ~around] = _RIM
    shown: np.ndarray = lit.round().clip(0, 255).astype(np.uint8)
    return shown


def enlarged(pixels: UInt8[Tensor, "s s 3"], side: int = SIDE) -> UInt8[np.ndarray, "side side 3"]:
    """The image at ``side`` × ``side`` pixels."""
    image = Image.fromarray(pixels.numpy())
    kind = Image.Resampling.LANCZOS if side < image.width else Image.Resampling.BICUBIC
    return np.asarray(image.resize((side, side), kind))


def data_uri(rows: Sequence[UInt8[np.ndarray, "h w 3"]], quality: int = 82) -> str:
    """Pictures of one height, side by side in one WebP, as a ``data:`` address."""
    written = io.BytesIO()
    Image.fromarray(np.concatenate(list(rows), axis=1)).save(written, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode("ascii")
