"""A pretend CUDA device: shapes, types and devices are followed, nothing is computed, and mixing devices fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from ddeep.data.preprocessing import _row_constants

M = TypeVar("M", bound=torch.nn.Module)

CUDA = torch.device("cuda", 0)


class _Pretence(TorchFunctionMode):
    """What a build of torch without CUDA refuses even of fake tensors: copies to the device, and Python's indexing."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.to and args[0].device.type == "cpu":
            parsed = torch._C._nn._parse_to(*args[1:], **{k: v for k, v in kwargs.items() if k != "copy"})
            if parsed[0] is not None and parsed[0].type == "cuda":
                wanted = parsed[1] or args[0].dtype
                return torch.empty_strided(args[0].shape, args[0].stride(), dtype=wanted, device=CUDA)
        if function is torch.Tensor.__getitem__ and args[0].device.type == "cuda":
            return _indexed(args[0], args[1])
        if function is torch.Tensor.__setitem__ and args[0].device.type == "cuda":
            return _assigned(*args)
        return function(*args, **kwargs)


def _indexed(tensor: Tensor, index: Any) -> Tensor:
    """``tensor[index]`` by the operators that Python's indexing stands for."""
    parts = list(index) if isinstance(index, tuple) else [index]
    axis, gathered = 0, []
    for part in parts:
        if part is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(part, int):
            tensor = torch.ops.aten.select.int(tensor, axis, part)
            continue
        elif isinstance(part, slice):
            tensor = torch.ops.aten.slice.Tensor(tensor, axis, part.start, part.stop, part.step or 1)
        else:
            gathered += [None] * (axis - len(gathered)) + [_on_device(part)]
        axis += 1
    return torch.ops.aten.index.Tensor(tensor, gathered) if gathered else tensor


def _assigned(tensor: Tensor, index: Any, value: Any) -> None:
    given = value if isinstance(value, Tensor) else torch.empty((), dtype=tensor.dtype, device=CUDA)
    if isinstance(index, slice | int | tuple):
        torch.ops.aten.copy_.default(_indexed(tensor, index), given)
    else:
        torch.ops.aten.index_put_.default(tensor, [_on_device(index)], given)


def _on_device(index: Any) -> Tensor:
    """A list of indices is copied to the device; a tensor must be there."""
    return index if isinstance(index, Tensor) else torch.empty(len(index), dtype=torch.int64, device=CUDA)


@contextmanager
def pretend_cuda() -> Iterator[torch.device]:
    """Inside, tensors are fake and may live on the device that is yielded."""
    _row_constants.cache_clear()  # its tensors belong to one pretence, the next would find another's
    # Without gradients: recording them asks for the streams of a device that is not there.
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=False), _Pretence():
        yield CUDA


def moved(module: M) -> M:
    """``module``, made inside ``pretend_cuda``, on the pretend device."""
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                child._parameters[name] = torch.nn.Parameter(parameter.detach().to(CUDA))
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = buffer.to(CUDA)
    return module
