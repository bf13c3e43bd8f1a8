"""The head of a network: its final linear layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError
from ..registry.specs import Pool
from .layer import INPUT, Layer, close, get_module
from .trace import Recording

FEEDS_TOLERANCE = 1e-4


class Head(NamedTuple):
    """A linear layer's parameters, ``weight`` ``(C, K)`` and ``bias`` ``(C,)``: whoever knows both, knows the logits.

    Equal where all numbers are.
    """

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, " c"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Head) and all(map(torch.equal, self, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(self.weight.shape))

    @classmethod
    def of(cls, linear: nn.Linear) -> Head:
        """The parameters of ``linear``; the bias is zeros where it has none."""
        weight = linear.weight.detach()
        return cls(weight, torch.zeros_like(weight[:, 0]) if linear.bias is None else linear.bias.detach())


def get_head(module: nn.Module, name: str) -> nn.Linear:
    """The final linear layer called ``name``, or an error that says what it is instead."""
    found = get_module(module, name, "head")
    if isinstance(found, nn.Linear):
        return found
    raise ConfigError(f"The head {name!r} is a {type(found).__name__}; only a final nn.Linear can be decomposed.")


def set_head(module: nn.Module, name: str, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"]) -> None:
    """Put other parameters into the final linear layer called ``name``."""
    linear = get_head(module, name)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def fitting_head(module: nn.Module, classes: int, filters: int) -> str:
    """Name of the one ``nn.Linear`` of this size, for a module that nobody has seen run.

    The only one there is need not fit. Raises ConfigError where there is none, or several: which of them gives the
    logits only a forward pass can tell.
    """
    linears = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    sizes = {name: (part.out_features, part.in_features) for name, part in linears.items()}
    fitting = [name for name, size in sizes.items() if size == (classes, filters) or len(sizes) == 1]
    if len(fitting) == 1:
        return str(fitting[0])
    if not sizes:
        raise ConfigError(f"{type(module).__name__} has no nn.Linear, so it has no head to decompose.")
    known = f"Several linear layers could be the head: {', '.join(fitting)}"
    if not fitting:
        shown = ", ".join(f"{name} ({outputs} by {inputs})" for name, (outputs, inputs) in sizes.items())
        known = f"No linear layer has {classes} outputs and {filters} inputs, as the selection asks: {shown}"
    raise ConfigError(f"{known}. Name the head with head=.")


def head_if_fed(recording: Recording, name: str, layer: Layer) -> Head | None:
    """The parameters of the head ``name`` if the pooled responses of ``layer`` are its input, to 1e-4; else None."""
    linear = get_head(recording.module, name)
    pool, responses = head_pool(recording, name), recording.responses(layer)
    given = recording.responses(Layer(f"{name}{INPUT}", pool, "NHWC")) if pool is not None else None
    if given is None or responses is None or not close(responses, given, FEEDS_TOLERANCE):
        return None
    return Head(*(part.float() for part in Head.of(linear)))  # as responses are, whatever the network computes in


def head_pool(recording: Recording, name: str) -> Pool | None:
    """How the linear layer ``name`` makes logits: from one vector an image (``none``), or at every position, pooled
    afterwards, which is the same as pooling what it is given. None where it makes the logits in no such way.
    """
    call, logits = recording.last.get(name), recording.output
    if call is None:
        return None
    if call.axes == "NC":
        return "none"
    if isinstance(logits, Tensor) and logits.ndim == 2:
        for layer, pooled in call.pooled.items():
            if close(pooled, logits.to(pooled), FEEDS_TOLERANCE):
                return layer.pool
    return None
