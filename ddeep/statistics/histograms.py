"""Statistics over binned responses, gathered in a later round, once every filter's range is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..networks.device import exact_device
from .basic import Extremes
from .batch import BLOCK, ResponseBatch
from .statistic import Statistic, accumulator

ACROSS = 32  # images whose responses are laid out by filter at once


def bin_responses(
    responses: Float[Tensor, "n k"], low: Float[Tensor, " k"], high: Float[Tensor, " k"], bins: int
) -> Int64[Tensor, "n k"]:
    """The bin of every response: 0 holds a filter's smallest value alone, 1…bins-1 share its range equally.

    The smallest value is often shared by many images (the zeros of a ReLU), which so stay exact ties.
    """
    width = (high - low) / (bins - 1)
    steps = (responses - low).div_(torch.where(width > 0, width, torch.inf))
    # One more for all but the smallest, without a choice by value: the processor would guess wrong too often.
    return steps.add_(steps.sign()).clamp_(max=bins - 1).int().long()  # faster than long() by itself


@dataclass(unsafe_hash=True)
class _Binned(Statistic):
    """What the statistics here share: ``bins`` bins over each filter's range."""

    bins: int

    def after(self) -> tuple[Statistic, ...]:
        return (Extremes(),)

    def prepare(self, complete: dict[Statistic, Statistic]) -> None:
        extremes = complete[Extremes()]
        assert isinstance(extremes, Extremes)
        self._low, self._high = extremes.low.double(), extremes.high.double()

    def binned(self, batch: ResponseBatch) -> Int64[Tensor, "n k"]:
        """The bin of every response of ``batch``."""
        responses = batch.doubles
        return bin_responses(responses, self._low.to(responses.device), self._high.to(responses.device), self.bins)

    def binned_by_filter(self, batch: ResponseBatch) -> Iterator[tuple[slice, Int64[Tensor, "j n"]]]:
        """The bins of some filters at a time, a filter in a row: what is looked up for it stays in the cache."""
        responses = batch.responses.to(exact_device(batch.responses.device))
        rows = by_filter(responses)
        low, high = self._low.to(rows.device), self._high.to(rows.device)
        filters, images = rows.shape
        some = max(1, BLOCK // max(1, images))
        for start in range(0, filters, some):
            columns = slice(start, start + some)
            yield columns, bin_responses(rows[columns].double().T, low[columns], high[columns], self.bins).T


def by_filter(responses: Float[Tensor, "n k"]) -> Float[Tensor, "k n"]:
    """A filter in a row. On the CPU some images at a time, which is several times faster than all at once."""
    images, filters = responses.shape
    if responses.device.type != "cpu":
        return responses.T.clone(memory_format=torch.contiguous_format)
    rows = responses.new_empty(filters, images)
    for start in range(0, images, ACROSS):
        rows[:, start : start + ACROSS] = responses[start : start + ACROSS].T
    return rows


@dataclass(unsafe_hash=True)
class Histogram(_Binned):
    """How many images have a response in each bin, filter by bin, all classes together."""

    by_filter: ClassVar[bool] = True
    counts: Int64[Tensor, "k b"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.counts = torch.zeros(filters, self.bins, dtype=torch.int64, device=exact_device(device))

    def update(self, batch: ResponseBatch) -> None:
        for columns, binned in self.binned_by_filter(batch):
            self.counts[columns].scatter_add_(1, binned, torch.ones_like(binned))


@dataclass(unsafe_hash=True)
class ClassHistogram(_Binned):
    """How many images of a class have a response in each bin, class by filter by bin."""

    counts: Int64[Tensor, "c k b"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.counts = torch.zeros(classes, filters, self.bins, dtype=torch.int64, device=exact_device(device))

    def update(self, batch: ResponseBatch) -> None:
        places = self.binned(batch)
        filters = places.shape[1]
        places += torch.arange(0, filters * self.bins, self.bins, device=places.device)
        places += (batch.exact_labels * (filters * self.bins))[:, None]
        places = places.view(-1)
        self.counts.view(-1).scatter_add_(0, places, torch.ones_like(places))


@dataclass(unsafe_hash=True)
class RankSums(_Binned):
    """Sums of the images' ranks by response, class by filter: what a ROC curve's area takes.

    ``doubled`` sums, over the images of a class, twice the number of all images in lower bins plus the number in the
    same bin; ``shared`` the number of *others* in the same bin, outside bin 0, whose ties are exact. So a table of
    classes by filters by bins, which would not fit for a thousand classes, is never made.
    """

    by_filter: ClassVar[bool] = True
    doubled: Int64[Tensor, "c k"] = accumulator()
    shared: Int64[Tensor, "c k"] = accumulator()

    def after(self) -> tuple[Statistic, ...]:
        return (Extremes(), Histogram(self.bins))

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        # Filter by filter in memory, as they are added to.
        self.doubled = torch.zeros(filters, classes, dtype=torch.int64, device=exact_device(device)).T
        self.shared = torch.zeros_like(self.doubled)

    def prepare(self, complete: dict[Statistic, Statistic]) -> None:
        super().prepare(complete)
        histogram = complete[Histogram(self.bins)]
        assert isinstance(histogram, Histogram)
        self._doubled = 2 * histogram.counts.cumsum(1) - histogram.counts
        self._others = histogram.counts - 1
        self._others[:, 0] = 0

    def update(self, batch: ResponseBatch) -> None:
        labels = batch.exact_labels
        for columns, binned in self.binned_by_filter(batch):
            owners = labels.expand_as(binned)
            for table, sums in ((self._doubled, self.doubled), (self._others, self.shared)):
                values = table[columns].to(binned.device).gather(1, binned)
                sums.T[columns].scatter_add_(1, owners, values)

    def areas(self, counts: Int64[Tensor, " c"]) -> tuple[Float[Tensor, "c k"], Float[Tensor, "c k"]]:
        """Area under the ROC curve of every class against all other images, by filter, and a bound of its error.

        ``counts`` are the images of each class. The area is P(r_c > r_¬c) + ½·P(r_c = r_¬c); by the symmetry of pairs
        within a class it follows from the class's ranks among *all* images. Only pairs in one bin can be misjudged,
        each by ½, so the error is at most half their share; pairs within the class count too, which loosens the
        bound but keeps it one. Classes without images, or without others, have area ½ exactly.
        """
        own = counts[:, None].to(self.doubled.device)
        others = own.sum() - own
        pairs = (own * others).clamp(min=1)
        compared = (own > 0) & (others > 0)
        area = (self.doubled - own * own).double() / (2 * pairs)
        bound = self.shared.double() / (2 * pairs)
        return torch.where(compared, area, 0.5), torch.where(compared, bound, 0.0)
