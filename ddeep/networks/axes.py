"""Which axis of a layer's output holds its filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from ..registry.specs import Pool
from .layer import Layer

# N images, C filters; H, W and T (tokens) are positions. The engine must be told of 4-D outputs only.
Axes = Literal["NCHW", "NHWC", "NTC", "NC"]

_FILTERS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.Upsample,
    nn.PixelShuffle,
)


def filters_of(axes: Axes, shape: Sequence[int]) -> int:
    """The number of filters K of an output with these ``axes`` and this ``shape``."""
    return shape[axes.index("C")]


def layer_with(name: str, pool: Pool, axes: Axes | None) -> Layer:
    """The layer called ``name`` whose output has these ``axes``."""
    return Layer(name, pool, "NHWC" if axes == "NHWC" else "NCHW")


def sure_axes(module: nn.Module, shape: Sequence[int]) -> Axes | None:
    """The axes that ``module``'s type and its output's ``shape`` settle by themselves; None where they do not.

    1. Two axes are ``(N, C)``, three are tokens ``(N, T, C)``.
    2. Of four, convolutions, batch, group and instance norms and pools have their filters on axis 1; ``nn.Linear``
       and ``nn.LayerNorm`` have them last (its subclasses decide nothing: libraries make some for either layout).
    3. The maps of a square image are square, so the odd axis out holds the filters: ``(N, 64, 7, 7)`` is NCHW and
       ``(N, 7, 7, 64)`` NHWC. So networks must be looked at with square images.
    """
    if len(shape) != 4:
        by_number: dict[int, Axes] = {2: "NC", 3: "NTC"}
        return by_number.get(len(shape))
    if isinstance(module, _FILTERS_FIRST):
        return "NCHW"
    if isinstance(module, nn.Linear) or type(module) in (nn.LayerNorm, nn.RMSNorm):
        return "NHWC"
    _, first, second, third = shape
    if second == third and first != second:
        return "NCHW"
    if first == second and second != third:
        return "NHWC"
    return None


def axes_of(module: nn.Module, shape: Sequence[int], nearby: Axes | None = None) -> Axes | None:
    """The axes of ``module``'s output of this ``shape``, or None for one axis, or five and more.

    Where type and shape leave a 4-D output open (64 filters on 64 × 64 positions), it has the axes of the 4-D
    output computed just before it (``nearby``), or NCHW if there was none.
    """
    sure = sure_axes(module, shape)
    if sure is not None or len(shape) != 4:
        return sure
    return nearby or "NCHW"
