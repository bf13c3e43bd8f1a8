"""Layers and pooling: how a layer's output becomes one response per filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, suggestion
from ..registry.specs import Pool

Layout = Literal["NCHW", "NHWC"]

# The layer that no submodule computes: what the linear layer of that name is given (torch.relu, a concatenation, …).
INPUT = ":input"


@dataclass(frozen=True)
class Layer:
    """A submodule whose output channels are filters; or, named ``<linear layer>:input``, what that one is given.

    ``pool`` matters for tokens ``(N, T, K)``: their mean, or the class token; ``layout`` for 4-D outputs.
    """

    name: str
    pool: Pool = "mean"
    layout: Layout = "NCHW"

    @property
    def submodule(self) -> str:
        """The submodule at which the layer is read."""
        return self.name.removesuffix(INPUT)

    @property
    def is_input(self) -> bool:
        """Whether it is what ``submodule`` is given, not what it returns."""
        return self.name.endswith(INPUT)

    def of(self, module: nn.Module) -> nn.Module:
        """The part of ``module`` that computes the layer; an identity where none does, at a layer's input."""
        found = get_module(module, self.submodule)
        return nn.Identity() if self.is_input else found

    def filter_axis(self, output: Tensor) -> int:
        """The dimension of ``output`` that holds the filters."""
        return 1 if output.dim() == 4 and self.layout == "NCHW" else output.dim() - 1

    def positions(self, output: Tensor) -> tuple[int, ...]:
        """The dimensions of ``output`` that are positions: neither images nor filters."""
        if output.dim() == 4:
            return (2, 3) if self.layout == "NCHW" else (1, 2)
        if output.dim() == 3:
            return (1,)
        if output.dim() == 2:
            return ()
        raise ConfigError(
            f"Layer {self.name!r} gives an output of shape {tuple(output.shape)}; a layer of filters has 2 (N, K), "
            "3 (N, tokens, K) or 4 dimensions. Choose another one: `ddeep layers MODEL` lists them."
        )


def check_output(layer: Layer, output: object) -> Tensor:
    """Return ``output`` if it is a tensor, else an error that names the layer."""
    if isinstance(output, Tensor):
        return output
    what = "is given" if layer.is_input else "returns"
    raise ConfigError(
        f"Layer {layer.name!r} {what} a {type(output).__name__}, not a tensor, so it has no filters to read. "
        "Choose a submodule inside or after it: `ddeep layers MODEL` lists them."
    )


def pool_responses(output: Tensor, layer: Layer) -> Float[Tensor, "n k"]:
    """Average ``output`` over positions (or take the class token), in float32: a tensor of its own, never a view.

    What follows the layer may work in place, and a view would keep the whole output in memory.
    """
    positions = layer.positions(output)
    if output.dim() == 3 and layer.pool == "token":
        return output[:, 0].to(torch.float32, copy=True)
    if not positions:
        return output.to(torch.float32, copy=True)
    return output.mean(positions, dtype=torch.float32)


def maps_of(output: Tensor, layer: Layer) -> Float[Tensor, "n k p"]:
    """``output`` as maps, filter by filter over all positions (one where there are none), in float32."""
    layer.positions(output)  # raises for what has no filters
    axis = layer.filter_axis(output)
    return output.movedim(axis, 1).reshape(len(output), output.shape[axis], -1).float()


def sum_positions(values: Tensor, layer: Layer) -> Float[Tensor, "n k"]:
    """Sum over positions, in float32; for gradient times activation, where the class token carries its own weight."""
    positions = layer.positions(values)
    return values.sum(positions, dtype=torch.float32) if positions else values.float()


def get_module(module: nn.Module, name: str, what: str = "layer") -> nn.Module:
    """The submodule called ``name``, or an error that suggests near misses."""
    modules: dict[str, nn.Module] = dict(module.named_modules())
    if name in modules and name:
        return modules[name]
    raise ConfigError(
        f"Unknown {what} {name!r} in {type(module).__name__}.{suggestion(name, modules)} "
        "`ddeep layers MODEL` lists all of them."
    )


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


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether the largest difference is within ``tolerance`` of the largest magnitude."""
    if a.shape != b.shape:
        return False
    scale = max(a.abs().max().item(), b.abs().max().item())
    return bool((a.float() - b.float()).abs().max().item() <= tolerance * scale)
