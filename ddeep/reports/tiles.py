"""Small pictures of images, and of where on them a filter is active."""

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

from ..networks.behind import Behind, find_behind
from ..networks.hooks import forward_hooks
from ..networks.layer import Layer
from ..networks.places import EXTRA_TOKENS, Grid, cells, coordinates, grid_of

SIDE = 96  # pixels of a tile
BATCH = 32
_DIM = 0.42  # what is left of an image's light where a filter is silent
_RIM = (255, 176, 0)  # the line around the active region: amber, seen on light, dark and grey alike
_RIM_AT = 0.5  # of the largest activation on the image


@dataclass(frozen=True)
class Maps:
    """Activation maps ``(N, F, h, w)`` of some filters on images of ``side`` × ``side`` pixels, and their places.

    ``behind`` says whose maps they are where the layer, a head's input, has none of its own.
    """

    values: Float[Tensor, "n f h w"]
    filters: tuple[int, ...]
    grid: Grid
    side: int
    behind: Behind | None = None

    def of(self, image: int, filter_: int) -> Float[Tensor, "h w"]:
        """The map of one filter on one image."""
        return self.values[image, self.filters.index(filter_)]


def activation_maps(
    module: nn.Module,
    layer: Layer,
    images: Float[Tensor, "n c h w"],
    filters: Sequence[int],
    device: torch.device,
    grid: Grid | None = None,
) -> Maps | None:
    """The maps of ``filters`` at ``layer`` on normalised ``images``; None where it has no positions that lie on them.

    A head's input that pools another layer's maps has those. ``grid`` saves finding out again where they lie, for
    images of the same size. Tokens are put back on their grid, a class token left out. ``module`` is in eval mode on
    the CPU, and ends there.
    """
    behind = find_behind(module, layer, images[:2]) if layer.is_input else None
    layer = layer if behind is None else behind.layer
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
    values = torch.cat(parts)
    return Maps(values, tuple(filters), grid or places_of(module, layer, images[:1], values), images.shape[-1], behind)


def places_of(module: nn.Module, layer: Layer, image: Tensor, maps: Float[Tensor, "n f h w"]) -> Grid:
    """Where the positions of ``maps`` lie: as the network's windows say, else each in the middle of its own cell."""
    height, width = maps.shape[-2:]
    grid = grid_of(module, layer, image)
    if grid is not None and (grid.down.length, grid.across.length) == (height, width):
        return grid
    return cells(height, width, image.shape[-1])


def on_the_image(output: Tensor, layer: Layer) -> Float[Tensor, "n k h w"] | None:
    """A layer's output as maps; None where it has no positions, or tokens that form no square grid."""
    if output.dim() == 4:
        return output if layer.layout == "NCHW" else output.permute(0, 3, 1, 2)
    if output.dim() != 3:
        return None
    for extra in EXTRA_TOKENS:
        side = math.isqrt(max(0, output.shape[1] - extra))
        if side > 1 and side * side == output.shape[1] - extra:
            return output[:, extra:].transpose(1, 2).reshape(len(output), -1, side, side)
    return None


def light(maps: Maps, image: int, filter_: int, side: int = SIDE) -> Float[Tensor, "side side"]:
    """How active the filter is at each of ``side`` × ``side`` points spread over the image: from 0 to 1, the largest.

    Between the centres of the positions it is interpolated bilinearly; 0 and below is 0.
    """
    pixels = (torch.arange(side, dtype=torch.float64) + 0.5) * maps.side / side - 0.5
    values = maps.of(image, filter_).double()
    for axis, along in enumerate(maps.grid):
        places = coordinates(along, pixels)
        below = places.floor().long().clamp(max=max(0, along.length - 2))
        part = places - below
        part = part[:, None] if axis == 0 else part[None]
        above = (below + 1).clamp(max=along.length - 1)
        values = values.index_select(axis, below) * (1 - part) + values.index_select(axis, above) * part
    largest = maps.of(image, filter_).max()
    return (values / largest if largest > 0 else torch.zeros_like(values)).clamp(0, 1)


def spotlight(pixels: UInt8[Tensor, "s s 3"], lit: Float[Tensor, "side side"]) -> UInt8[np.ndarray, "side side 3"]:
    """The image, lit where the filter is active and dim elsewhere, with a line around the most active region.

    ``lit`` is that of ``light``. The line runs at half of the largest activation.
    """
    image = enlarged(pixels, len(lit)).astype(np.float32)
    bright = lit.numpy()
    grey = image.mean(2, keepdims=True)
    strength = np.sqrt(bright)[..., None].astype(np.float32)
    shown = (grey + (image - grey) * strength) * (_DIM + (1 - _DIM) * strength)
    inside = bright >= _RIM_AT
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    shown[inside & ~around] = _RIM
    whole: np.ndarray = shown.round().clip(0, 255).astype(np.uint8)
    return whole


def enlarged(pixels: UInt8[Tensor, "s s 3"], side: int = SIDE) -> UInt8[np.ndarray, "side side 3"]:
    """The image at ``side`` × ``side`` pixels."""
    image = Image.fromarray(pixels.numpy())
    kind = Image.Resampling.LANCZOS if side < image.width else Image.Resampling.BICUBIC
    return np.asarray(image.resize((side, side), kind))


def data_uri(picture: UInt8[np.ndarray, "h w 3"], quality: int = 80) -> str:
    """A picture in WebP, as a ``data:`` address."""
    written = io.BytesIO()
    Image.fromarray(picture).save(written, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode("ascii")
