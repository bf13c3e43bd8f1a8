"""What of a network is kept, and which of its filters could go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..networks.copies import copy_of
from ..networks.head import get_head
from .graph import Graph


@dataclass(frozen=True)
class CutPlan:
    """What of a network is kept, JSON-ready by ``to_json``.

    ``outputs`` are the classes, by number, in the order of the new logits; ``inputs`` the filters that the head reads
    (for an exact cut those with a weight to a kept class); ``zeroed`` the filters of inner layers, by dotted name, that
    are removed besides.
    """

    head: str
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    zeroed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def exact(cls, module: nn.Module, head: str, outputs: Sequence[int]) -> CutPlan:
        """All that the classes ``outputs`` use. Raises ConfigError for classes that are not there, or none."""
        weight = get_head(module, head).weight.detach()
        check_outputs(outputs, len(weight))
        used = (weight[list(outputs)] != 0).any(0)
        return cls(head, tuple(outputs), tuple(used.nonzero()[:, 0].tolist()))

    def to_json(self) -> dict[str, Any]:
        """The plan as a document."""
        zeroed = {name: list(filters) for name, filters in self.zeroed.items()}
        return {"head": self.head, "outputs": list(self.outputs), "inputs": list(self.inputs), "zeroed": zeroed}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CutPlan:
        """What ``to_json`` gave. Raises KeyError, TypeError or ValueError where it is something else."""
        zeroed = {str(name): tuple(map(int, filters)) for name, filters in document["zeroed"].items()}
        inputs, outputs = tuple(map(int, document["inputs"])), tuple(map(int, document["outputs"]))
        return cls(str(document["head"]), outputs, inputs, zeroed)


def check_outputs(outputs: Sequence[int], classes: int) -> None:
    """Raise ConfigError unless ``outputs`` are some of the ``classes`` of a head, each once."""
    if not outputs or len(set(outputs)) < len(outputs) or not set(outputs) <= set(range(classes)):
        raise ConfigError(f"Classes {list(outputs)} are not some of the {classes} of the head, each once.")


def readers(module: nn.Module, layers: Collection[str], example: Tensor) -> tuple[str, ...]:
    """The convolutions and linear layers that read the channels of ``layers``, in the order in which they run."""
    graph = Graph(copy_of(module).cpu().eval(), example)
    found = set()
    for name in layers:
        ends = [graph.by_name[name]]
        for node in ends:
            for user in node.users:
                if graph.operations[user].kind == "produce":
                    found.add(str(user.target))
                elif graph.operations[user].kind in ("each", "keep"):
                    ends.append(user)
    return tuple(str(node.target) for node in graph.nodes if node.op == "call_module" and str(node.target) in found)


def inner_layers(module: nn.Module, head: str, example: Tensor) -> dict[str, int]:
    """Layers whose filters can be removed without touching anything but their own neighbours, with their filters.

    The last submodule before nothing but convolutions and linear layers reads a convolution's or linear layer's
    channels: for a block, its inner layers, not the stream that it adds to.
    """
    graph = Graph(copy_of(module).cpu().eval(), example)
    found = {}
    for node in graph.nodes:
        if graph.operations[node].kind != "produce" or node.target == head:
            continue
        name, end = "", node
        while True:
            if end.op == "call_module" and graph.uses[str(end.target)] == 1:
                name = str(end.target)
            users = list(end.users)
            if len(users) != 1 or graph.operations[users[0]].kind not in ("each", "keep"):
                break
            end = users[0]
        reads = [user for user in end.users if graph.operations[user].kind == "produce" and user.target != head]
        if name and reads and len(reads) == len(end.users):
            found[name] = graph.channels(node)
    return found
