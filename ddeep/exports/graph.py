"""A network as a graph of operations, and what each of them does with channels."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from ..errors import ConfigError

Kind = Literal["produce", "each", "keep", "pad", "add", "opaque"]

# Channel by channel, and zero where the input is zero.
_KEEPS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Identity,
    nn.Dropout, nn.Dropout2d,
)  # fmt: skip
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_LEAVES = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, *_KEEPS, *_POOLS)
_KEEP_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.relu, torch.relu, F.relu6, F.leaky_relu, F.gelu, F.silu, F.mish, F.hardswish, torch.tanh, F.dropout,
)  # fmt: skip
_POOL_FUNCTIONS: tuple[Callable[..., Any], ...] = (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d)
_ADDS: tuple[Callable[..., Any], ...] = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class Operation:
    """What a node does: its ``kind``, and the ``axis`` of its output that holds channels, None where nobody knows.

    ``produce`` mixes all channels of its input; ``each`` treats them one by one; so does ``keep``, which leaves zeros
    zero; ``pad`` puts ``before`` channels of zeros first; ``add`` joins two tensors. ``opaque`` is everything else: it
    needs every channel of what it reads and gives every channel.
    """

    kind: Kind
    axis: int | None = None
    before: int = 0


OPAQUE = Operation("opaque")


class Graph:
    """The traced network: its ``nodes`` in order, the ``operations`` they are, and their shapes.

    Raises ConfigError, which names the submodule, where the network cannot be traced.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.traced = _trace(module)
        try:
            ShapeProp(self.traced).propagate(example)
        except RuntimeError as error:
            raise ConfigError(f"The traced network does not run: {str(error).splitlines()[0]}") from error
        self.modules = dict(self.traced.named_modules())
        self.nodes = list(self.traced.graph.nodes)
        self.operations: dict[fx.Node, Operation] = {}
        for node in self.nodes:
            self.operations[node] = self._operation(node)

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each submodule is called."""
        return Counter(str(node.target) for node in self.nodes if node.op == "call_module")

    @cached_property
    def by_name(self) -> dict[str, fx.Node]:
        """The call of each submodule that is called once."""
        calls = {str(node.target): node for node in self.nodes if node.op == "call_module"}
        return {name: node for name, node in calls.items() if self.uses[name] == 1}

    def shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """Of the node's output, for the example; None where it is no tensor."""
        meta = node.meta.get("tensor_meta")
        return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None

    def channels(self, node: fx.Node) -> int:
        """How many channels the node's output has along its axis."""
        shape, axis = self.shape(node), self.operations[node].axis
        assert shape is not None
        assert axis is not None
        return shape[axis]

    def module(self, node: fx.Node) -> nn.Module:
        """The submodule that the node calls."""
        found: nn.Module = self.modules[str(node.target)]
        return found

    def _operation(self, node: fx.Node) -> Operation:
        shape, given = self.shape(node), node.all_input_nodes
        if shape is None or not given:
            return OPAQUE
        if node.op == "call_module":
            return self._of_module(node, given[0], shape)
        if node.op == "call_function" and node.target in _ADDS:
            return self._of_add(given, shape)
        axis = self.operations[given[0]].axis
        before = self.shape(given[0])
        if axis is None or before is None or len(given) > 1:
            return OPAQUE
        if node.op == "call_function":
            return _of_function(node, axis, before, shape)
        return _of_method(node, axis, before) if node.op == "call_method" else OPAQUE

    def _of_module(self, node: fx.Node, source: fx.Node, shape: tuple[int, ...]) -> Operation:
        module, axis = self.module(node), self.operations[source].axis
        once = self.uses[str(node.target)] == 1
        if isinstance(module, nn.Conv2d) and once and axis in (1, None):
            if module.groups == 1:
                return Operation("produce", 1)
            return Operation("each", 1) if module.groups == module.in_channels == module.out_channels else OPAQUE
        if isinstance(module, nn.Linear) and once and axis in (len(shape) - 1, None):
            return Operation("produce", len(shape) - 1)
        if axis is None:
            return OPAQUE
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and axis == 1 and once:
            return Operation("each", 1) if module.running_mean is not None else OPAQUE
        if isinstance(module, nn.PReLU) and module.num_parameters > 1:
            return OPAQUE
        if isinstance(module, _KEEPS) or (isinstance(module, _POOLS) and axis == 1 and len(shape) == 4):
            return Operation("keep", axis)
        before = self.shape(source)
        if isinstance(module, nn.Flatten) and before is not None and _flattens(module.start_dim, axis, before):
            return Operation("keep", axis)
        return OPAQUE

    def _of_add(self, given: list[fx.Node], shape: tuple[int, ...]) -> Operation:
        axes = {self.operations[one].axis for one in given} - {None}
        same = len(given) == 2 and all(self.shape(one) == shape for one in given)
        return Operation("add", axes.pop()) if same and len(axes) == 1 else OPAQUE


def _of_function(node: fx.Node, axis: int, before: tuple[int, ...], shape: tuple[int, ...]) -> Operation:
    if node.target in _KEEP_FUNCTIONS or (node.target in _POOL_FUNCTIONS and axis == 1 and len(shape) == 4):
        return Operation("keep", axis)
    if node.target is operator.getitem:
        index = node.args[1]
        whole = isinstance(index, tuple) and len(index) > axis and index[axis] == slice(None)
        plain = isinstance(index, tuple) and all(isinstance(part, slice) for part in index)
        return Operation("keep", axis) if whole and plain else OPAQUE
    if node.target is torch.flatten:
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        return Operation("keep", axis) if _flattens(start, axis, before) else OPAQUE
    if node.target is torch.mean:
        return _of_mean(node, axis, before)
    if node.target is torch.permute:
        return _of_permute(node, axis)
    if node.target is F.pad:
        return _of_pad(node, axis, before)
    return OPAQUE


def _of_method(node: fx.Node, axis: int, before: tuple[int, ...]) -> Operation:
    if node.target in ("relu", "relu_", "contiguous", "clone", "tanh"):
        return Operation("keep", axis)
    if node.target == "flatten":
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        return Operation("keep", axis) if _flattens(start, axis, before) else OPAQUE
    if node.target == "mean":
        return _of_mean(node, axis, before)
    if node.target == "permute":
        return _of_permute(node, axis)
    return OPAQUE


def _of_mean(node: fx.Node, axis: int, before: tuple[int, ...]) -> Operation:
    """Over other axes than the channels'."""
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    if not isinstance(dims, list | tuple) or not all(isinstance(dim, int) for dim in dims):
        return OPAQUE
    over = {dim % len(before) for dim in dims}
    kept = bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False))
    if axis in over:
        return OPAQUE
    return Operation("keep", axis if kept else axis - sum(dim < axis for dim in over))


def _of_permute(node: fx.Node, axis: int) -> Operation:
    given: Any = node.args[1:] if len(node.args) > 1 else node.kwargs.get("dims", ())
    dims = given[0] if len(given) == 1 and isinstance(given[0], list | tuple) else given
    if not all(isinstance(dim, int) for dim in dims):
        return OPAQUE
    return Operation("keep", [dim % len(dims) for dim in dims].index(axis))


def _of_pad(node: fx.Node, axis: int, before: tuple[int, ...]) -> Operation:
    """With zeros; those along the channels become channels of zeros."""
    pads = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
    whole = isinstance(pads, list | tuple) and all(isinstance(pad, int) and pad >= 0 for pad in pads)
    if not whole or mode != "constant" or value not in (None, 0, 0.0):
        return OPAQUE
    place = 2 * (len(before) - 1 - axis)  # pads begin with the last axis
    return Operation("pad", axis, int(pads[place]) if len(pads) > place else 0)  # type: ignore[arg-type, index]


def _flattens(start: Any, axis: int, before: tuple[int, ...]) -> bool:
    """Whether flattening from ``start`` leaves the channels as they are: nothing but ones behind them."""
    return bool(start == axis == 1 and all(side == 1 for side in before[2:]))


class _Tracer(fx.Tracer):
    """Knows which submodule it was in when it failed."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """torch's own, and what others derive from those whose channels can be cut."""
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Note the way in, and the way out where there is one."""
        self.inside.append(f"{self.path_of_module(m)} ({type(m).__name__})")
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def _trace(module: nn.Module) -> fx.GraphModule:
    tracer = _Tracer()
    try:
        return fx.GraphModule(module, tracer.trace(module))
    except Exception as error:  # of any kind: control flow that depends on data
        where = f" in {tracer.inside[-1]}" if tracer.inside else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{type(module).__name__} cannot be traced{where}: {reason[:200]}. Its forward pass must not depend on the "
            "values it computes; choose another architecture, or export it whole with `ddeep export`."
        ) from error
