"""One recorded forward pass: every call of every submodule, its output pooled on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError
from ..registry.specs import Pool
from .copies import refuse_scripted
from .hooks import forward_hooks
from .layer import INPUT, Axes, Layer, axes_of, filters_of, layer_with, pool_responses, sure_axes
from .logits import read_logits

_POOLS: dict[Axes, tuple[Pool, ...]] = {"NC": ("none",), "NTC": ("mean", "token")}  # else the mean


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a submodule. ``problem`` says why its output cannot be read as responses, if so.

    ``pooled`` holds the responses ``(N, K)`` of each layer that its output may be read as. What a linear layer is
    given is a call of its own, of an identity named ``<linear layer>:input``.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...] | None = None
    axes: Axes | None = None
    problem: str = ""
    pooled: Mapping[Layer, Tensor] = field(default_factory=dict)

    @property
    def filters(self) -> int | None:
        """K, or None where the output cannot be read as responses."""
        return filters_of(self.axes, self.shape) if self.axes and self.shape else None

    @property
    def has_positions(self) -> bool:
        """Whether there is more than one number per image and filter."""
        return self.shape is not None and self.filters != torch.Size(self.shape[1:]).numel()


@dataclass(frozen=True, eq=False)
class Recording:
    """All ``calls`` of one pass of ``module``, in the order they finished, and its ``output``: its logits if there are.

    Whatever is to be known of a network's parts follows from one recording, so that nobody need run it again.
    """

    module: nn.Module
    calls: tuple[Call, ...]
    output: Any

    @cached_property
    def last(self) -> dict[str, Call]:
        """The last call of each submodule that was called, by name."""
        return {call.name: call for call in self.calls}

    def responses(self, layer: Layer) -> Float[Tensor, "n k"] | None:
        """The responses of ``layer`` at its last call; None where it was not called or cannot be read so."""
        call = self.last.get(layer.name)
        pooled = call.pooled if call is not None else {}
        if call is not None and call.axes == "NC":
            return next(iter(pooled.values()))
        if call is not None and call.axes == "NTC":
            return pooled[Layer(layer.name, "token" if layer.pool == "token" else "mean")]
        return pooled.get(Layer(layer.name, layout=layer.layout))


def example_images(module: nn.Module, size: int, channels: int = 3) -> Float[Tensor, "2 c h w"]:
    """Two square images of seeded noise, on the device of the module's parameters."""
    noise = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(next(module.parameters(), noise).device)


def record(module: nn.Module, example: Float[Tensor, "n ..."]) -> Recording:
    """Run ``module`` on ``example`` (square images) in eval mode, and keep what each submodule did.

    Mode, weights and hooks are afterwards as they were. Outputs are pooled at once: the pass needs little memory.
    """
    refuse_scripted(module)
    calls: list[Call] = []
    nearby: Axes | None = None

    def hook(name: str, child: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal nearby
        call = _call(name, child, output, len(example), nearby)
        nearby = call.axes if call.axes in ("NCHW", "NHWC") else nearby
        calls.append(call)

    names = [name for name, _ in module.named_modules() if name]
    names += [f"{name}{INPUT}" for name, child in module.named_modules() if name and isinstance(child, nn.Linear)]
    with forward_hooks(module, {name: partial(hook, name) for name in names}), eval_mode(module), torch.no_grad():
        output = module(example)
    with suppress(ConfigError):  # whoever needs logits says what was returned in their place
        output = read_logits(output)
    return Recording(module, tuple(calls), output)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode while the block runs; afterwards every submodule is in its own mode again."""
    training = [child for child in module.modules() if child.training]
    module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True


def _call(name: str, child: nn.Module, output: Any, images: int, nearby: Axes | None) -> Call:
    caller = nn.Identity() if name.endswith(INPUT) else child
    if not isinstance(output, Tensor):
        return Call(name, caller, problem=f"returns a {type(output).__name__}, not one tensor")
    shape = tuple(output.shape)
    axes = axes_of(child, shape, nearby)
    problem = ""
    if not shape or shape[0] != images:
        problem = f"returns {shape[0] if shape else 'no'} rows for {images} images"
    elif axes is None:
        problem = f"returns a tensor of {len(shape)} axes; only 2, 3 or 4 can be read"
    readable = axes is not None and not problem
    return Call(
        name,
        caller,
        shape,
        axes if readable else None,
        problem,
        _pooled(name, child, output.detach(), axes) if axes is not None and readable else {},
    )


def _pooled(name: str, child: nn.Module, output: Tensor, axes: Axes) -> dict[Layer, Tensor]:
    """The responses by every layer that the output may be: the traced one first."""
    layers = [layer_with(name, pool, axes) for pool in _POOLS.get(axes, ("mean",))]
    if output.dim() == 4 and sure_axes(child, output.shape) is None:  # somebody may know better
        layers.append(Layer(name, layout="NHWC" if axes == "NCHW" else "NCHW"))
    return {layer: pool_responses(output, layer) for layer in layers}
