"""The maps behind a head's input: the layer that it is a pooling of, by another rule than the mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .hooks import forward_hooks
from .layer import Layer, axes_of, close, layer_with, maps_of

TOLERANCE = 1e-4

# Maps (N, K, positions) to what a head may be given of them (N, K).
_POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "maximum": lambda maps: maps.amax(-1),
    "mean after a ReLU": lambda maps: maps.relu().mean(-1),
    "maximum after a ReLU": lambda maps: maps.relu().amax(-1),
    "half of mean and maximum": lambda maps: (maps.mean(-1) + maps.amax(-1)) / 2,
    "sum": lambda maps: maps.sum(-1),
    "sum after a ReLU": lambda maps: maps.relu().sum(-1),
}


class Behind(NamedTuple):
    """A ``layer`` with positions, and the ``pooling`` of its maps that is what the head is given."""

    layer: Layer
    pooling: str


def find_behind(module: nn.Module, layer: Layer, images: Float[Tensor, "n c h w"]) -> Behind | None:
    """Which layer's maps ``layer``, the input of a linear one, pools: seen by value in one pass over ``images``.

    The last that was called before it, of several; None where no pooling by name gives it. ``module`` is in eval
    mode, on the device of ``images``.
    """
    maps: dict[Layer, Tensor] = {}
    given: list[Tensor] = []

    def keep(name: str, child: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        axes = axes_of(child, tuple(output.shape), None) if isinstance(output, Tensor) else None
        if given or axes in (None, "NC") or len(output) != len(images):
            return
        read = layer_with(name, "mean", axes)
        maps.pop(read, None)  # its last call decides, and its place among the others
        maps[read] = maps_of(output, read)

    hooks = {name: partial(keep, name) for name, _ in module.named_modules() if name}
    seen = {layer.name: lambda _module, _inputs, output: given.append(output.float())}
    with forward_hooks(module, hooks), forward_hooks(module, seen), torch.no_grad():
        module(images)
    for read, values in reversed(maps.items()):
        for pooling, pool in _POOLINGS.items():
            if values.shape[:2] == given[-1].shape and close(pool(values), given[-1], TOLERANCE):
                return Behind(read, pooling)
    return None
