"""One layer's view of some images, and what statistics share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..networks.device import exact_device

# Responses to work on at once: few enough for what is computed of them to stay in the processor's cache.
BLOCK = 2**17


@dataclass(frozen=True, eq=False)
class ResponseBatch:
    """One layer's view of some images. The derived quantities are computed once, however many statistics use them.

    ``zeros`` is the share of positions at which a filter is exactly zero; ``gradient_activation`` the gradient of the
    true class's logit times the activation, summed over positions. They and ``logits`` are there on request only, and
    so is ``looked[look]``: what a function ``look`` of some statistic's ``extras`` has made of the maps.
    """

    responses: Float[Tensor, "n k"]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]
    zeros: Float[Tensor, "n k"] | None = None
    gradient_activation: Float[Tensor, "n k"] | None = None
    logits: Float[Tensor, "n c"] | None = None
    looked: Mapping[Callable[[Tensor], Tensor], Tensor] = field(default_factory=dict)

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
        zeros, products, logits = (None if extra is None else extra[wanted] for extra in extras)
        looked = {look: seen[wanted] for look, seen in self.looked.items()}
        columns = (self.responses[wanted], self.labels[wanted], self.indices[wanted])
        return ResponseBatch(*columns, zeros, products, logits, looked)


_LARGEST = 0x7FFFFFFF  # the bits of a float32 without its sign


_INDEX = 0xFFFFFFFF


def rank_magnitudes(
    responses: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """|responses| of every image in descending order, and whose they are; among equals the smaller index first."""
    magnitudes = responses.abs()
    if magnitudes.device.type == "cpu" and magnitudes.dtype == torch.float32 and not torch.compiler.is_compiling():
        return _by_keys(magnitudes)
    values, order = torch.sort(magnitudes, dim=1, descending=True, stable=True)
    return values, order


def _by_keys(magnitudes: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Value and index packed into one integer, and those sorted by numpy's vectorised sort: many times faster.

    Floats that are not negative are in the order of their bits. Keys hold what the bits lack of the largest, which is
    their complement, above the index, so that ascending keys are descending values, and equal values ascending indices.
    """
    keys = magnitudes.view(torch.int32).bitwise_xor(_LARGEST).long().bitwise_left_shift_(32)
    keys += torch.arange(magnitudes.shape[1])
    keys.numpy().sort(axis=1)
    values = (keys >> 32).int().bitwise_xor_(_LARGEST).view(torch.float32)
    return values, keys.bitwise_and_(_INDEX)
