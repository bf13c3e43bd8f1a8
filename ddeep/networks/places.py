"""Where on the image the positions of a layer lie: the centres of their receptive fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .hooks import forward_hooks
from .layer import Layer

EXTRA_TOKENS = (0, 1, 2, 5)  # before those of a grid: none, a class token, another of distillation, four registers


class Axis(NamedTuple):
    """Positions along one axis: ``length`` of them, number i centred on pixel ``start`` + i·``step`` (from 0)."""

    length: int
    step: float = 1.0
    start: float = 0.0

    def window(self, count: int, size: int, stride: int, padding: int, dilation: int = 1) -> Axis:
        """What a convolution or pooling makes of it: ``count`` positions."""
        return Axis(count, self.step * stride, self.start + self.step * (dilation * (size - 1) / 2 - padding))

    def resized(self, count: int) -> Axis:
        """Scaled to ``count`` positions that share the same ground, each in the middle of its own cell."""
        scale = self.length / count
        return Axis(count, self.step * scale, self.start + self.step * (scale - 1) / 2)


class Grid(NamedTuple):
    """Positions of a layer, down and across."""

    down: Axis
    across: Axis

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can hold a number for each position: on two axes, or on one, as tokens."""
        height, width = self.down.length, self.across.length
        side_by_side = (height, width) in pairwise(shape)
        return side_by_side or (len(shape) <= 3 and any(height * width + extra in shape for extra in EXTRA_TOKENS))


def cells(height: int, width: int, side: int) -> Grid:
    """The grid that shares an image of ``side`` × ``side`` pixels among its positions."""
    whole = Axis(side)
    return Grid(whole.resized(height), whole.resized(width))


def grid_of(module: nn.Module, layer: Layer, image: Float[Tensor, "1 c h w"]) -> Grid | None:
    """The grid of ``layer``'s output, from one pass; None where what lies between it and the image does not tell.

    Convolutions, pooling, padding, cropping and resizing are followed one by one, as the centres of their windows;
    whatever else keeps the grid's shape keeps its places. ``module`` and ``image`` are on one device.
    """
    found: list[Grid | None] = []
    with torch.inference_mode(), _Following(image := image.clone()) as following:
        hook = {layer.name: lambda _module, _inputs, output: found.append(following.grid(output))}
        with forward_hooks(module, hook):
            module(image)
    return found[-1] if found else None


class _Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the grid of every tensor that comes of ``image``."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: list[Tensor] = [image]  # or another tensor might get the identity of one that is gone
        self._grids: dict[int, Grid] = {id(image): Grid(Axis(image.shape[2]), Axis(image.shape[3]))}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and torch would load its compiler to know so

    def grid(self, tensor: Any) -> Grid | None:
        return self._grids.get(id(tensor))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rule = _RULES.get(func.overloadpacket.__name__)
        if rule is None:
            with self:  # into what has rules, as far as it comes apart
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        result = func(*args, **(kwargs or {}))
        known = [grid for leaf in tree_leaves((args, kwargs)) if (grid := self.grid(leaf)) is not None]
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor) or not known:
                continue
            grid = rule(known[0], tensor, list(args)) if rule is not None and _is_map(args[0]) else None
            if rule is None:
                grid = next((one for one in known if one.fits(tensor.shape)), None)
            if grid is not None:
                self._kept.append(tensor)
                self._grids[id(tensor)] = grid
        return result


def _is_map(tensor: Tensor) -> bool:
    return tensor.dim() == 4


def _window(grid: Grid, out: Tensor, size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Grid:
    size, padding, dilation = _two(size), _two(padding), _two(dilation)
    strides = _two(stride) if stride not in ([], None) else size
    down, across = (
        axis.window(count, *how)
        for axis, count, how in zip(
            grid, out.shape[-2:], zip(size, strides, padding, dilation, strict=True), strict=True
        )
    )
    return Grid(down, across)


def _convolution(grid: Grid, out: Tensor, args: list[Any]) -> Grid | None:
    _, weight, _, stride, padding, dilation, transposed, *_ = args
    return None if transposed else _window(grid, out, list(weight.shape[2:]), stride, padding, dilation)


def _max_pool(grid: Grid, out: Tensor, args: list[Any]) -> Grid:
    _, size, stride, padding, dilation = [*args, *([[], 0, 1][len(args) - 2 :])][:5]
    return _window(grid, out, size, stride, padding, dilation)


def _average_pool(grid: Grid, out: Tensor, args: list[Any]) -> Grid:
    _, size, stride, padding = [*args, *([[], 0][len(args) - 2 :])][:4]
    return _window(grid, out, size, stride, padding)


def _pad(grid: Grid, out: Tensor, args: list[Any]) -> Grid:
    left, top = args[1][0], args[1][2] if len(args[1]) > 2 else 0
    down, across = grid
    return Grid(
        Axis(out.shape[-2], down.step, down.start - top * down.step),
        Axis(out.shape[-1], across.step, across.start - left * across.step),
    )


def _slice(grid: Grid, out: Tensor, args: list[Any]) -> Grid:
    _, axis, start, _, step = [*args, *([0, None, None, 1][len(args) - 1 :])][:5]
    axes = list(grid)
    place = axis % out.dim() - (out.dim() - 2)
    if place >= 0:
        old = axes[place]
        first = max(0, start + old.length if (start or 0) < 0 else start or 0)
        axes[place] = Axis(out.shape[axis], old.step * step, old.start + first * old.step)
    return Grid(*axes)


def _resize(grid: Grid, out: Tensor, args: list[Any]) -> Grid:  # noqa: ARG001
    return Grid(grid.down.resized(out.shape[-2]), grid.across.resized(out.shape[-1]))


def _two(value: Any) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return values * 2 if len(values) == 1 else values


_RULES: dict[str, Callable[[Grid, Tensor, list[Any]], Grid | None]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "constant_pad_nd": _pad,
    "slice": _slice,
    "_adaptive_avg_pool2d": _resize,
    "upsample_nearest2d": _resize,
    "upsample_bilinear2d": _resize,
    "upsample_bicubic2d": _resize,
}


def coordinates(axis: Axis, pixels: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Where ``pixels`` of the image lie among the positions: a fraction of the way from one to the next."""
    return ((pixels - axis.start) / axis.step).clamp(0, axis.length - 1)
