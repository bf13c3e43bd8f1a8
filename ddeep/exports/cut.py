"""A physically smaller network: channels that nothing kept depends on are not computed.

Backwards from the kept logits it is noted which channels of which tensor anybody needs, forwards which are zero; what
is not needed, or zero, is removed from convolutions, linear layers and batch norms. Where tensors of one stream lose
different channels, they are selected by index. So the cut is exact: it gives the logits of the network in which the
filters of ``zeroed`` give zero.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, fx, nn

from ..errors import ConfigError
from ..networks.copies import copy_of
from .graph import Graph
from .plan import CutPlan, check_outputs

SELECTED = "selected_channels_"  # how names of index buffers begin


def cut_network(module: nn.Module, plan: CutPlan, example: Tensor) -> fx.GraphModule:
    """A smaller copy of ``module`` (in eval mode, its head an ``nn.Linear``) with the logits of ``plan.outputs`` alone.

    Submodules keep their names. ``example`` are a few of its images. Raises ConfigError where the network cannot be
    traced, or the plan names layers and channels that are not there.
    """
    graph = Graph(copy_of(module).cpu().eval(), example)
    return _Cut(graph, plan).made()


@dataclass(frozen=True)
class Channels:
    """The output channels ``kept`` of a submodule and, for convolutions and linear layers, the input channels read."""

    kept: tuple[int, ...]
    read: tuple[int, ...] | None = None

    def tensors(self, name: str, whole: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
        """The tensors of the submodule ``name`` and where in the ``whole`` network's they were, as an index."""
        kept = torch.tensor(self.kept)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensor = whole.get(f"{name}.{part}")
            if tensor is not None and part == "weight" and self.read is not None:
                yield f"{name}.{part}", (kept[:, None], torch.tensor(self.read)[None])
            elif tensor is not None:
                yield f"{name}.{part}", (kept,)


def kept_channels(module: nn.Module, plan: CutPlan, example: Tensor) -> dict[str, Channels]:
    """What ``cut_network`` leaves of every submodule that it keeps and that has channels, by name."""
    cut = _Cut(Graph(copy.deepcopy(module).cpu().eval(), example), plan)
    cut.made()
    return cut.left


class _Cut:
    """The work on one graph: which channels live, and the graph rewritten to compute no others."""

    def __init__(self, graph: Graph, plan: CutPlan) -> None:
        self.graph, self.plan = graph, plan
        self.head = self._head()
        self.nonzero = self._nonzero()
        self.live = self._live()
        self.left: dict[str, Channels] = {}
        self.selected: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}

    def made(self) -> fx.GraphModule:
        """The rewritten network."""
        traced = self.graph.traced
        for node in self.graph.nodes:
            if self._is_known(node) and not self.live[node].any():
                continue
            if node.op not in ("placeholder", "get_attr", "output"):
                self._rewrite(node)
        traced.graph.eliminate_dead_code()
        traced.delete_all_unused_submodules()
        traced.graph.lint()
        traced.recompile()
        return traced.eval()

    def _head(self) -> fx.Node:
        """The head's node, whose output is the network's."""
        head = self.graph.by_name.get(self.plan.head)
        result = self.graph.nodes[-1].args[0]
        if head is None or result is not head or not isinstance(self.graph.module(head), nn.Linear):
            raise ConfigError(
                f"The network's logits are not the output of its head {self.plan.head!r}: it cannot be cut."
            )
        weight: Tensor = self.graph.module(head).weight  # type: ignore[assignment]
        classes, filters = weight.shape
        check_outputs(self.plan.outputs, classes)
        if not self.plan.inputs or not set(self.plan.inputs) <= set(range(filters)):
            raise ConfigError(f"The kept classes use none of the head's {filters} filters: there is nothing to keep.")
        return head

    def _is_known(self, node: fx.Node) -> bool:
        return self.graph.operations[node].axis is not None

    def _zeroed(self, node: fx.Node) -> tuple[int, ...]:
        return self.plan.zeroed.get(str(node.target), ()) if node.op == "call_module" else ()

    def _nonzero(self) -> dict[fx.Node, Bool[Tensor, " k"]]:
        """The channels of every node that may be other than zero."""
        strangers = [name for name in self.plan.zeroed if name not in self.graph.by_name]
        found: dict[fx.Node, Tensor] = {}
        for node in self.graph.nodes:
            operation = self.graph.operations[node]
            if operation.axis is None:
                if self._zeroed(node):
                    strangers.append(str(node.target))
                continue
            mask = torch.ones(self.graph.channels(node), dtype=torch.bool)
            given = [found.get(source) for source in node.all_input_nodes]
            if operation.kind == "keep" and given[0] is not None:
                mask = given[0].clone()
            elif operation.kind == "pad" and given[0] is not None:
                mask = torch.zeros_like(mask)
                mask[operation.before : operation.before + len(given[0])] = given[0]
            elif operation.kind == "add" and given[0] is not None and given[1] is not None:
                mask = given[0] | given[1]
            zeroed = self._zeroed(node)
            if any(not 0 <= j < len(mask) for j in zeroed):
                raise ConfigError(f"Layer {node.target!r} has {len(mask)} filters, and no filter {max(zeroed)}.")
            mask[list(zeroed)] = False
            if not mask.any():
                raise ConfigError(
                    f"Layer {node.target!r} would lose all of its {len(mask)} filters. Keep one at least."
                )
            found[node] = mask
        if strangers:
            raise ConfigError(
                f"Filters of the layer {strangers[0]!r} cannot be removed: they cannot be traced through it."
            )
        return found

    def _live(self) -> dict[fx.Node, Bool[Tensor, " k"]]:
        """The channels of every node that are needed and may be other than zero, backwards from the logits."""
        needed = {node: torch.zeros_like(mask) for node, mask in self.nonzero.items()}
        needed[self.head][list(self.plan.outputs)] = True
        live: dict[fx.Node, Tensor] = {}
        for node in reversed(self.graph.nodes):
            operation = self.graph.operations[node]
            if operation.axis is not None:
                live[node] = needed[node] & self.nonzero[node]
            for source in node.all_input_nodes:
                if source not in needed or (node.op == "output" and source is self.head):
                    continue
                if operation.axis is None:
                    needed[source][:] = True
                elif not live[node].any():
                    continue
                elif node is self.head:
                    needed[source][list(self.plan.inputs)] = True
                elif operation.kind == "produce":
                    needed[source][:] = True
                elif operation.kind == "pad":
                    first = operation.before
                    needed[source] |= live[node][first : first + len(needed[source])]
                else:
                    needed[source] |= live[node]
        return live

    def _rewrite(self, node: fx.Node) -> None:
        """Let ``node`` read, and compute, the channels that live."""
        operation = self.graph.operations[node]
        if operation.axis is None:
            for source in [one for one in node.all_input_nodes if self._is_known(one)]:
                node.replace_input_with(source, self._take(node, source, range(self.graph.channels(source))))
            return
        kept = _indices(self.live[node])
        if operation.kind == "add":
            self._rewrite_add(node, kept)
            return
        source = node.all_input_nodes[0]
        wanted = kept
        if operation.kind == "produce":
            wanted = self._read_by(node, source)
        elif operation.kind == "pad":
            wanted = [channel - operation.before for channel in kept]
            _pad_no_channels(node, operation.axis, len(self.graph.shape(node) or ()))
        if self._is_known(source) or node is self.head:
            axis = len(self.graph.shape(source) or ()) - 1 if node is self.head else None
            node.replace_input_with(source, self._take(node, source, wanted, axis))
        if node.op == "call_module":
            rows, module = list(self.plan.outputs) if node is self.head else kept, self.graph.module(node)
            _shrink(module, rows, wanted)
            if next(module.parameters(), None) is not None:
                mixes = operation.kind == "produce"
                self.left[str(node.target)] = Channels(tuple(rows), tuple(wanted) if mixes else None)

    def _read_by(self, node: fx.Node, source: fx.Node) -> list[int]:
        """The input channels that a convolution or linear layer is left with."""
        live = _indices(self.live[source]) if source in self.live else None
        if node is self.head:
            return [j for j in sorted(set(self.plan.inputs)) if live is None or j in set(live)]
        module = self.graph.module(node)
        every = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
        return live if live is not None else list(range(every))  # type: ignore[arg-type]

    def _rewrite_add(self, node: fx.Node, kept: list[int]) -> None:
        axis = self.graph.operations[node].axis
        operands = [a for a in node.args[:2] if isinstance(a, fx.Node)]
        there = [one for one in operands if one not in self.live or self.live[one][kept].any()]
        taken = [self._take(node, one, kept, axis) for one in there]
        if len(taken) < 2:
            node.replace_all_uses_with(taken[0])
            self.live[taken[0]] = self.live[node]
            self.graph.operations[taken[0]] = self.graph.operations[node]
        else:
            node.args = (*taken, *node.args[2:])

    def _take(self, user: fx.Node, source: fx.Node, wanted: Sequence[int], axis: int | None = None) -> fx.Node:
        """The channels ``wanted`` of what ``source`` has left, in this order; zeros for those it never computes."""
        known = self.graph.operations[source].axis
        axis = axis if known is None else known
        shape = self.graph.shape(source)
        assert axis is not None
        assert shape is not None
        there = _indices(self.live[source]) if source in self.live else list(range(shape[axis]))
        if list(wanted) == there:
            return source
        if (source, tuple(wanted)) in self.selected:
            return self.selected[source, tuple(wanted)]
        place = {channel: position for position, channel in enumerate(there)}
        index = torch.tensor([place.get(channel, len(there)) for channel in wanted])
        graph, name = self.graph.traced.graph, f"{SELECTED}{len(self.selected)}"
        self.graph.traced.register_buffer(name, index)
        with graph.inserting_before(user):
            padded = source
            if len(there) in index:
                pads = [0, 0] * (len(shape) - 1 - axis) + [0, 1]
                padded = graph.call_function(F.pad, (source, pads))
            found = graph.call_function(torch.index_select, (padded, axis, graph.get_attr(name)))
        self.selected[source, tuple(wanted)] = found
        return found


def _indices(mask: Tensor) -> list[int]:
    found: list[int] = mask.nonzero()[:, 0].tolist()
    return found


def _pad_no_channels(node: fx.Node, axis: int, axes: int) -> None:
    """Padded channels are zeros, which nobody computes."""
    pads = list(node.args[1] if len(node.args) > 1 else node.kwargs["pad"])  # type: ignore[arg-type]
    place = 2 * (axes - 1 - axis)
    if len(pads) > place:
        pads[place : place + 2] = [0, 0]
    rest = {name: value for name, value in node.kwargs.items() if name != "pad"}
    node.args, node.kwargs = (node.args[0], pads, *node.args[2:]), rest


@torch.no_grad()
def _shrink(module: nn.Module, kept: list[int], wanted: list[int]) -> None:
    """Leave ``module`` with the output channels ``kept`` and the input channels ``wanted``."""
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups > 1
        rows = module.weight[kept]
        module.weight = nn.Parameter(rows if depthwise else rows[:, wanted])
        module.out_channels, module.in_channels = len(kept), len(kept) if depthwise else len(wanted)
        module.groups = len(kept) if depthwise else 1
    elif isinstance(module, nn.Linear):
        module.weight = nn.Parameter(module.weight[kept][:, wanted])
        module.out_features, module.in_features = len(kept), len(wanted)
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(kept)
        for name in ("running_mean", "running_var"):
            setattr(module, name, getattr(module, name)[kept])
        if module.affine:
            module.weight = nn.Parameter(module.weight[kept])
    else:
        return
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias[kept])
