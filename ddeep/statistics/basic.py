"""The statistics that come with the engine; any plugin may define more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import exact_device
from .batch import ResponseBatch
from .statistic import Statistic, accumulator


def _counts(rows: int, columns: int, device: torch.device | str) -> Int64[Tensor, "r c"]:
    return torch.zeros(rows, columns, dtype=torch.int64, device=device)


def _sums(rows: int, columns: int, device: torch.device | str) -> Float[Tensor, "r c"]:
    return torch.zeros(rows, columns, dtype=torch.float64, device=exact_device(device))


def count_pairs(table: Int64[Tensor, "r c"], rows: Int64[Tensor, " n"], columns: Int64[Tensor, " n"]) -> None:
    """Add one to ``table[rows[i], columns[i]]`` for every i, in place."""
    table.view(-1).index_add_(0, rows * table.shape[1] + columns, rows.new_ones(()).expand_as(rows))


@dataclass(unsafe_hash=True)
class ClassCounts(Statistic):
    """Images per class."""

    counts: Int64[Tensor, " c"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.counts = torch.zeros(classes, dtype=torch.int64, device=device)

    def update(self, batch: ResponseBatch) -> None:
        self.counts.index_add_(0, batch.labels, torch.ones_like(batch.labels))


@dataclass(unsafe_hash=True)
class ClassSums(Statistic):
    """Sum of the responses, class by filter; divided by the class counts, μ_cj."""

    sums: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.sums = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        self.sums.index_add_(0, batch.exact_labels, batch.doubles)


@dataclass(unsafe_hash=True)
class ClassSquares(Statistic):
    """Sum of the squared responses, class by filter."""

    sums: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.sums = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        self.sums.index_add_(0, batch.exact_labels, batch.doubles.square())


@dataclass(unsafe_hash=True)
class MagnitudeSums(Statistic):
    """Sum of |response|, class by filter: the tie rule's second key."""

    sums: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.sums = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        self.sums.index_add_(0, batch.exact_labels, batch.doubles.abs())


@dataclass(unsafe_hash=True)
class Extremes(Statistic):
    """Smallest and largest response of each filter."""

    low: Float[Tensor, " k"] = accumulator("min")
    high: Float[Tensor, " k"] = accumulator("max")

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.low = torch.full((filters,), torch.inf, dtype=torch.float32, device=device)
        self.high = torch.full((filters,), -torch.inf, dtype=torch.float32, device=device)

    def update(self, batch: ResponseBatch) -> None:
        self.low = torch.minimum(self.low, batch.responses.amin(0))
        self.high = torch.maximum(self.high, batch.responses.amax(0))


@dataclass(unsafe_hash=True)
class TopCounts(Statistic):
    """How often a filter is among an image's k largest |response|, class by filter."""

    k: int
    counts: Int64[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.counts = _counts(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        taken = batch.ranking[:, : self.k]
        count_pairs(self.counts, batch.labels.repeat_interleave(taken.shape[1]), taken.reshape(-1))


@dataclass(unsafe_hash=True)
class MassHistogram(Statistic):
    """How many images of a class have m_n(q) = m, for m = 0…K: exact means and medians of m_n(q).

    m_n(q) is the number of leading filters whose cumulative share of Σ|r| is still below q. Images with Σ|r| = 0 are
    left out and counted in ``silent``.
    """

    q: float
    counts: Int64[Tensor, "c k1"] = accumulator()
    silent: Int64[Tensor, " c"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.counts = _counts(classes, filters + 1, device)
        self.silent = torch.zeros(classes, dtype=torch.int64, device=device)

    def update(self, batch: ResponseBatch) -> None:
        total = batch.cumulative[:, -1:]
        leading = torch.searchsorted(batch.cumulative, self.q * total)[:, 0].to(batch.labels.device)
        heard = (total[:, 0] > 0).to(batch.labels.device).long()
        self.silent.index_add_(0, batch.labels, 1 - heard)
        self.counts.view(-1).index_add_(0, batch.labels * self.counts.shape[1] + leading, heard)

    def means(self) -> Float[Tensor, " c"]:
        """Mean of m_n(q) over each class, NaN for classes without images."""
        counts = self.counts.double()
        return (counts @ torch.arange(counts.shape[1], dtype=torch.float64, device=counts.device)) / counts.sum(1)

    def medians(self) -> Float[Tensor, " c"]:
        """Median of m_n(q) over each class, the mean of the middle two for an even number; NaN without images."""
        cumulative = self.counts.cumsum(1)
        total = cumulative[:, -1:]
        lower = (cumulative <= (total - 1) // 2).sum(1)
        upper = (cumulative <= total // 2).sum(1)
        medians = (lower + upper).double() / 2
        return torch.where(total[:, 0] > 0, medians, torch.nan)


@dataclass(unsafe_hash=True)
class MassTopCounts(Statistic):
    """How often a filter is among an image's m_c largest |response|, m_c = max(1, ⌊mean of m_n(q) over S_c⌋)."""

    q: float
    counts: Int64[Tensor, "c k"] = accumulator()

    def after(self) -> tuple[Statistic, ...]:
        return (MassHistogram(self.q),)

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.counts = _counts(classes, filters, device)

    def prepare(self, complete: dict[Statistic, Statistic]) -> None:
        histogram = complete[MassHistogram(self.q)]
        assert isinstance(histogram, MassHistogram)
        leading = histogram.counts @ torch.arange(histogram.counts.shape[1], device=histogram.counts.device)
        images = histogram.counts.sum(1).clamp(min=1)
        self._taken = (leading // images).clamp(min=1)  # integers: no rounding before the floor

    def update(self, batch: ResponseBatch) -> None:
        taken = self._taken.to(batch.labels.device)[batch.labels]
        heard = batch.responses.abs().amax(1) > 0
        width = batch.ranking.shape[1]
        chosen = (torch.arange(width, device=taken.device) < taken[:, None]) & heard[:, None]
        rows = batch.labels[:, None].expand(-1, width)
        self.counts.view(-1).index_add_(0, (rows * width + batch.ranking).reshape(-1), chosen.reshape(-1).long())


def _barred(among: tuple[int, ...] | None, classes: int, device: torch.device | str) -> Bool[Tensor, " c"] | None:
    """The classes that do not compete for predictions; None where all do."""
    if among is None:
        return None
    barred = torch.ones(classes, dtype=torch.bool, device=device)
    barred[list(among)] = False
    return barred


def _predicted(batch: ResponseBatch, barred: Bool[Tensor, " c"] | None) -> Int64[Tensor, " n"]:
    """The class of each image's largest logit."""
    assert batch.logits is not None
    logits = batch.logits if barred is None else batch.logits.masked_fill(barred, -torch.inf)
    return logits.argmax(1)


@dataclass(unsafe_hash=True)
class Confusion(Statistic):
    """True class by predicted class, from the network's own logits.

    With ``among``, only these classes compete for the prediction.
    """

    among: tuple[int, ...] | None = None
    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"logits"})
    counts: Int64[Tensor, "c c"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.counts = _counts(classes, classes, device)
        self._barred = _barred(self.among, classes, device)

    def update(self, batch: ResponseBatch) -> None:
        count_pairs(self.counts, batch.labels, _predicted(batch, self._barred))


@dataclass(unsafe_hash=True)
class ConfusionPairs(Statistic):
    """``Confusion`` as the pairs of true and predicted class that occur, c·C + p in ascending order, and their counts.

    At most as many as there are images, where C² numbers would not fit.
    """

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"logits"})
    sized: ClassVar[bool] = False
    pairs: Int64[Tensor, " p"] = accumulator()
    counts: Int64[Tensor, " p"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self._classes = classes
        self.pairs, self.counts = (torch.zeros(0, dtype=torch.int64, device=device) for _ in range(2))

    def update(self, batch: ResponseBatch) -> None:
        pairs = batch.labels * self._classes + _predicted(batch, None)
        self._add(pairs, torch.ones_like(pairs))

    def merge(self, other: Self) -> None:
        self._add(other.pairs.to(self.pairs.device), other.counts.to(self.pairs.device))

    def _add(self, pairs: Int64[Tensor, " q"], counts: Int64[Tensor, " q"]) -> None:
        met, places = torch.unique(torch.cat([self.pairs, pairs]), return_inverse=True)
        self.counts = torch.zeros_like(met).index_add_(0, places, torch.cat([self.counts, counts]))
        self.pairs = met

    def table(self, classes: int) -> Int64[Tensor, "c c"]:
        """As a sparse table (coalesced COO), true class by predicted class."""
        places = torch.stack([self.pairs // classes, self.pairs % classes])
        return torch.sparse_coo_tensor(
            places, self.counts, (classes, classes), is_coalesced=True, check_invariants=False
        )


@dataclass(unsafe_hash=True)
class Correct(Statistic):
    """Images of each class whose largest logit is their class's; the diagonal of ``Confusion``, without its C² numbers.

    With ``among``, only these classes compete for the prediction.
    """

    among: tuple[int, ...] | None = None
    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"logits"})
    counts: Int64[Tensor, " c"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.counts = torch.zeros(classes, dtype=torch.int64, device=device)
        self._barred = _barred(self.among, classes, device)

    def update(self, batch: ResponseBatch) -> None:
        right = _predicted(batch, self._barred) == batch.labels
        self.counts.index_add_(0, batch.labels, right.long())


@dataclass(unsafe_hash=True)
class ZeroSums(Statistic):
    """Sum over images of the share of positions at which the filter is zero, class by filter (APoZ)."""

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"zeros"})
    sums: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.sums = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        assert batch.zeros is not None
        self.sums.index_add_(0, batch.exact_labels, batch.zeros.to(self.sums.device).double())


@dataclass(unsafe_hash=True)
class GradientSums(Statistic):
    """Sums over images of g, |g| and g², class by filter; g is the batch's ``gradient_activation``."""

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"gradient_activation"})
    signed: Float[Tensor, "c k"] = accumulator()
    absolute: Float[Tensor, "c k"] = accumulator()
    squared: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.signed = _sums(classes, filters, device)
        self.absolute = _sums(classes, filters, device)
        self.squared = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        assert batch.gradient_activation is not None
        gradient = batch.gradient_activation.to(self.signed.device).double()
        self.signed.index_add_(0, batch.exact_labels, gradient)
        self.absolute.index_add_(0, batch.exact_labels, gradient.abs())
        self.squared.index_add_(0, batch.exact_labels, gradient.square())


def peaks(maps: Float[Tensor, "n k p"]) -> Float[Tensor, "n k"]:
    """The largest activation of every filter on every image."""
    return maps.amax(2)


@dataclass(unsafe_hash=True)
class PeakSums(Statistic):
    """Sum over images of the filter's largest activation, class by filter."""

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({peaks})
    sums: Float[Tensor, "c k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:
        self.sums = _sums(classes, filters, device)

    def update(self, batch: ResponseBatch) -> None:
        self.sums.index_add_(0, batch.exact_labels, batch.looked[peaks].to(self.sums.device).double())
