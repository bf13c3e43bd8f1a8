"""Layers and pooling: how a layer's output becomes one response per filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, suggestion
from ..registry.specs import Pool

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Layer:
    """A submodule whose output channels are filters.

    ``pool`` matters for tokens ``(N, T, K)``: their mean, or the class token; ``layout`` for 4-D outputs.
    """

    name: str
    pool: Pool = "mean"
    layout: Layout = "NCHW"

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
    raise ConfigError(
        f"Layer {layer.name!r} returns a {type(output).__name__}, not a tensor, so it has no filters to read. "
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


def sum_positions(values: Tensor, layer: Layer) -> Float[Tensor, "n k"]:
    """Sum over positions, in float32; for gradient times activation, where the class token carries its own weight."""
    positions = layer.positions(values)
    return values.sum(positions, dtype=torch.float32) if positions else values.float()


def find_module(module: nn.Module, name: str, what: str = "layer") -> nn.Module:
    """The submodule called ``name``, or an error that suggests near misses."""
    modules: dict[str, nn.Module] = dict(module.named_modules())
    if name in modules and name:
        return modules[name]
    raise ConfigError(
        f"Unknown {what} {name!r} in {type(module).__name__}.{suggestion(name, modules)} "
        "`ddeep layers MODEL` lists all of them."
    )
