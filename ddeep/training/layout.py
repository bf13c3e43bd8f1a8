"""How a network that learns lies in memory: channels last, where that is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 16  # input channels that oneDNN's kernels for AVX-512 take at once; those for AVX2 take 8


def lay_out(module: nn.Module) -> None:
    """Turn all weights of images' networks to channels last but those of convolutions that oneDNN does not learn so."""
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in mislearnt(module):
        part.weight.data = _plain(part.weight.data)


@contextmanager
def plain_inputs(module: nn.Module) -> Iterator[None]:
    """Convolutions that oneDNN does not learn in channels last get their inputs, and so their gradients, otherwise."""

    def reorder(_part: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_plain(inputs[0]), *inputs[1:])

    with ExitStack() as stack:
        for part in mislearnt(module):
            stack.callback(part.register_forward_pre_hook(reorder).remove)
        yield


def mislearnt(module: nn.Module) -> list[nn.Conv2d]:
    """Its convolutions whose weights oneDNN gives wrong gradients in channels last, if it does not hang or crash.

    For 1 × 1 kernels with a stride it gathers the pixels that they meet into a workspace that has room for their
    channels, and writes whole blocks of channels (https://github.com/uxlfoundation/oneDNN/issues/6035). Stems that read
    images of 3 channels are such, as RepVGG's.
    """
    return [
        part
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and max(part.stride) > 1
        and part.in_channels // part.groups < BLOCK
    ]


def _plain(tensor: Tensor) -> Tensor:
    """A copy with the strides of a new tensor: ``contiguous`` leaves those of 1 × 1 maps and kernels as they are."""
    return tensor.new_empty(tensor.shape).copy_(tensor)
