"""One recorded forward pass: every call of every submodule, its output pooled on the spot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..registry.specs import Pool
from .axes import Axes, axes_of, filters_of, layer_with
from .layer import pool_responses

# Larger outputs than this cannot be logits, and are not kept.
_MAX_LOGITS = 1 << 20
_POOLS: dict[Axes, tuple[Pool, ...]] = {"NC": ("none",), "NTC": ("mean", "token")}


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a submodule. ``problem`` says why its output cannot be read as responses, if so.

    ``pooled`` holds the responses ``(N, K)`` by way of pooling; ``given`` the input of a linear layer; ``output``
    what a linear layer or a convolution returned.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...] | None = None
    axes: Axes | None = None
    problem: str = ""
    pooled: tuple[tuple[Pool, Tensor], ...] = ()
    given: Tensor | None = None
    output: Tensor | None = None

    @property
    def filters(self) -> int | None:
        """K, or None where the output cannot be read as responses."""
        return filters_of(self.axes, self.shape) if self.axes and self.shape else None

    @property
    def has_positions(self) -> bool:
        """Whether there is more than one number per image and filter."""
        return self.shape is not None and self.filters != torch.Size(self.shape[1:]).numel()


def example_images(module: nn.Module, size: int, channels: int = 3) -> Float[Tensor, "2 c h w"]:
    """Two square images of seeded noise, on the device of the module's parameters."""
    noise = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(next(module.parameters(), noise).device)


def record(module: nn.Module, example: Float[Tensor, "n c h w"]) -> tuple[list[Call], Any]:
    """Run ``module`` on ``example`` in eval mode; return the calls in the order they finished, and the output.

    Mode, weights and hooks are afterwards as they were. Outputs are pooled at once: the pass needs little memory.
    """
    calls: list[Call] = []
    nearby: Axes | None = None

    def hook(name: str, child: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal nearby
        call = _call(name, child, inputs, output, len(example), nearby)
        nearby = call.axes if call.axes in ("NCHW", "NHWC") else nearby
        calls.append(call)

    handles = [
        child.register_forward_hook(lambda child, inputs, output, name=name: hook(name, child, inputs, output))
        for name, child in module.named_modules()
        if name
    ]
    try:
        with _eval_mode(module), torch.no_grad():
            output = module(example)
    finally:
        for handle in handles:
            handle.remove()
    return calls, output


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    training = [child for child in module.modules() if child.training]
    module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True


def _call(name: str, child: nn.Module, inputs: tuple[Any, ...], output: Any, images: int, nearby: Axes | None) -> Call:
    if not isinstance(output, Tensor):
        return Call(name, child, problem=f"returns a {type(output).__name__}, not one tensor")
    shape = tuple(output.shape)
    linear = isinstance(child, nn.Linear)
    kept = (linear or isinstance(child, nn.Conv2d)) and output.numel() <= _MAX_LOGITS
    axes = axes_of(child, shape, nearby)
    problem = ""
    if not shape or shape[0] != images:
        problem = f"returns {shape[0] if shape else 'no'} rows for {images} images"
    elif axes is None:
        problem = f"returns a tensor of {len(shape)} axes; only 2, 3 or 4 can be read"
    readable = axes is not None and not problem
    return Call(
        name,
        child,
        shape,
        axes if readable else None,
        problem,
        _pooled(name, output.detach(), axes) if axes is not None and readable else (),
        # Copies, because what follows may work in place.
        inputs[0].detach().clone() if linear and inputs else None,
        output.detach().clone() if kept else None,
    )


def _pooled(name: str, output: Tensor, axes: Axes) -> tuple[tuple[Pool, Tensor], ...]:
    ways = _POOLS.get(axes, ("mean",))
    return tuple((pool, pool_responses(output, layer_with(name, pool, axes)).clone()) for pool in ways)
