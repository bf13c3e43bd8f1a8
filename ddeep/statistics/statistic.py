"""What a statistic is: a mergeable accumulator over responses and labels.

A statistic is a small object. Its parameters give it value equality, so that the engine gathers each one once
whoever asks for it; its accumulators do not take part in equality. Updating with any split of the images in any order,
and merging, gives the same counts exactly and the same sums to 1e-9 relative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .ranking import rank_magnitudes

# Responses to work on at once: few enough for what is computed of them to stay in the processor's cache.
BLOCK = 2**17

Reduction = Literal["sum", "min", "max"]


@dataclass(frozen=True, eq=False)
class ResponseBatch:
    """One layer's view of some images. The derived quantities are computed once, however many statistics use them.

    ``zeros`` is the share of positions at which a filter is exactly zero; ``gradient_activation`` the gradient of the
    true class's logit times the activation, summed over positions. They and ``logits`` are there on request only.
    """

    responses: Float[Tensor, "n k"]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]
    zeros: Float[Tensor, "n k"] | None = None
    gradient_activation: Float[Tensor, "n k"] | None = None
    logits: Float[Tensor, "n c"] | None = None

    @cached_property
    def doubles(self) -> Float[Tensor, "n k"]:
        """The responses in float64, on the CPU where the device has none."""
        return self.responses.to(exact_device(self.responses.device)).double()

    @cached_property
    def exact_labels(self) -> Int64[Tensor, " n"]:
        return self.labels.to(exact_device(self.labels.device))

    @cached_property
    def _ranked(self) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        return rank_magnitudes(self.responses)

    @property
    def ranking(self) -> Int64[Tensor, "n k"]:
        """Filters by |response|, largest first; ties by the smaller index."""
        return self._ranked[1]

    @cached_property
    def cumulative(self) -> Float[Tensor, "n k"]:
        """Cumulative |response|, largest first, in float64."""
        values = self._ranked[0]
        return values.to(exact_device(values.device)).double().cumsum(1)

    def blocks(self) -> Iterator[ResponseBatch]:
        """The batch in parts of some images each; whole where it is small, or on a device that wants much at once."""
        images, filters = self.responses.shape
        most = max(1, BLOCK // filters)
        if images <= most or self.responses.device.type != "cpu":
            yield self
            return
        for start in range(0, images, most):
            yield self.rows(slice(start, start + most))

    def rows(self, wanted: slice) -> ResponseBatch:
        """Some of the images."""
        extras = (self.zeros, self.gradient_activation, self.logits)
        return ResponseBatch(
            self.responses[wanted],
            self.labels[wanted],
            self.indices[wanted],
            *(None if extra is None else extra[wanted] for extra in extras),
        )


def exact_device(device: torch.device | str) -> torch.device:
    """Where float64 sums are kept: the device itself, or the CPU for devices without float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def accumulator(reduction: Reduction = "sum") -> Any:
    """A dataclass field that holds a tensor merged by ``reduction`` and plays no part in equality."""
    return field(init=False, compare=False, repr=False, metadata={"reduction": reduction})


class Statistic:
    """Base of all statistics; subclasses are ``@dataclass(unsafe_hash=True)`` with ``accumulator()`` fields.

    ``extras`` names what it reads of a batch beyond the responses; ``memory`` its bytes as a formula in C, K and
    its own parameters. ``by_filter``: it goes through a batch filter by filter, so it wants many images at once.
    """

    extras: ClassVar[frozenset[str]] = frozenset()
    by_filter: ClassVar[bool] = False
    memory: ClassVar[str]

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
