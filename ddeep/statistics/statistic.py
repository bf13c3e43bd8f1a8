"""What a statistic is: a mergeable accumulator over responses and labels.

A statistic is a small object. Its parameters give it value equality, so that the engine gathers each one once
whoever asks for it; its accumulators do not take part in equality. Updating with any split of the images in any order,
and merging, gives the same counts exactly and the same sums to 1e-9 relative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from .batch import ResponseBatch

Reduction = Literal["sum", "min", "max"]


def accumulator(reduction: Reduction = "sum") -> Any:
    """A dataclass field that holds a tensor merged by ``reduction`` and plays no part in equality."""
    return field(init=False, compare=False, repr=False, metadata={"reduction": reduction})


class Statistic:
    """Base of all statistics; subclasses are ``@dataclass(unsafe_hash=True)`` with ``accumulator()`` fields.

    ``extras`` names what it reads of a batch beyond the responses, or holds functions that reduce the maps
    ``(N, K, positions)`` on the spot, as ``peaks`` does: no map outlives its layer. ``by_filter``: it goes through a
    batch filter by filter, so it wants many images at once. ``sized``: C and K say how large its accumulators are; one
    that grows with what it meets sets it to False, and merges in a way of its own.
    """

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset()
    by_filter: ClassVar[bool] = False
    sized: ClassVar[bool] = True

    def after(self) -> tuple[Statistic, ...]:
        """The statistics that must be complete first; if any, this one is gathered in a later round."""
        return ()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        """Allocate empty accumulators for C classes and K filters."""
        raise NotImplementedError(f"{type(self).__name__} must say how it starts: define `start`.")

    def prepare(self, complete: dict[Statistic, Statistic]) -> None:
        """Take what a later round needs from the statistics named by ``after``, and from what those waited for."""

    def update(self, batch: ResponseBatch) -> None:
        """Add a batch."""
        raise NotImplementedError(f"{type(self).__name__} must say what a batch adds: define `update`.")

    @classmethod
    def reductions(cls) -> dict[str, Reduction]:
        """How each accumulator merges."""
        return {f.name: f.metadata["reduction"] for f in fields(cls) if "reduction" in f.metadata}  # type: ignore[arg-type]

    def merge(self, other: Self) -> None:
        """Add what another statistic of the same parameters has gathered over other images."""
        combine: dict[Reduction, Callable[..., Tensor]]
        combine = {"sum": torch.add, "min": torch.minimum, "max": torch.maximum}
        for name, reduction in self.reductions().items():
            mine = getattr(self, name)
            setattr(self, name, combine[reduction](mine, getattr(other, name).to(mine.device)))

    def state(self) -> dict[str, Tensor]:
        """The accumulators by name, on the CPU and in order: copies only where they were elsewhere or otherwise."""
        return {name: getattr(self, name).cpu().contiguous() for name in self.reductions()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take copies of accumulators saved by ``state``."""
        for name in self.reductions():
            setattr(self, name, state[name].clone())

    def to_cpu(self) -> None:
        """Bring the accumulators to the CPU, without a copy where they are there."""
        for name in self.reductions():
            setattr(self, name, getattr(self, name).cpu())

    def twin(self) -> Self:
        """Another statistic of the same parameters, not started."""
        return type(self)(**{f.name: getattr(self, f.name) for f in fields(self) if f.init})  # type: ignore[arg-type]

    def nbytes(self, classes: int, filters: int) -> int:
        """Bytes of the accumulators for C classes and K filters, whatever the number of images."""
        empty = self.twin()
        empty.start(classes, filters, "meta")
        return sum(getattr(empty, name).nbytes for name in self.reductions())
