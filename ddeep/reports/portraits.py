"""What each filter responds to: its images, its classes, and the filters that respond alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..evidence.evidence import Evidence
from .findings import Findings, Measured

NUMBERS = 2**26  # responses looked at: an even part of a train split that has more
ALL = 256  # filters of a layer that all get a page; of more, those that some class has selected
FIRST = 100  # images whose classes say what a filter is for
ALIKE = 6
BINS = 32
QUANTILES = (0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Found:
    """Images, best first: their numbers in the train split, and the filter's response to each."""

    indices: tuple[int, ...]
    responses: tuple[float, ...]

    @classmethod
    def at(cls, rows: Tensor, responses: Tensor) -> Found:
        return cls(tuple(rows.tolist()), tuple(responses.tolist()))


@dataclass(frozen=True)
class Portrait:
    """A filter. ``classes`` are those of its ``FIRST`` strongest images, with counts; ``alike`` (filter, correlation).

    ``quantiles`` holds images around the 75th, 50th and 25th percentile of all responses, and some without any
    response (or with the least).
    """

    filter: int
    top: Found
    quantiles: tuple[Found, ...]
    classes: tuple[tuple[int, int], ...]
    alike: tuple[tuple[int, float], ...]
    low: float
    high: float
    silent: float

    @property
    def purity(self) -> float:
        """Share of the strongest images that are of one class."""
        return self.classes[0][1] / sum(count for _, count in self.classes)


@dataclass(frozen=True)
class Pair:
    """A filter of a class: the class's images it responds to most, and those of other classes (near misses).

    ``density``: of the class's images, and of all others, how many have a response in each of ``BINS`` equal bins from
    the filter's lowest to its highest.
    """

    own: Found
    near: Found
    density: Int64[Tensor, "2 b"]


@dataclass(frozen=True)
class Portraits:
    """``images`` of the train split were looked at."""

    filters: tuple[Portrait, ...]
    pairs: dict[tuple[int, int], Pair]
    images: int


def shown_filters(found: Findings) -> list[int]:
    """The filters that have a page."""
    filters = found.selection.num_filters
    return list(range(filters)) if filters <= ALL else sorted(found.users())


def portraits(found: Findings, measured: Measured, top: int, near: int) -> Portraits:
    """``top`` and ``near``: how many images of either kind."""
    filters = shown_filters(found)
    rows, values, labels = _looked_at(measured.train, filters)
    alike = _alike(values, filters)
    made, pairs = [], {}
    users, present = found.users(), set(labels.tolist())
    for at, j in enumerate(filters):
        column = values[:, at].contiguous()
        falling = column.argsort(descending=True, stable=True)
        made.append(_portrait(j, rows, column, labels, falling, measured, alike[j]))
        bins = _bins(column)
        whole = bins.bincount(minlength=BINS)
        for c in present.intersection(users.get(j, ())):
            mine = labels == c
            own, others = falling[mine[falling]][:top], falling[~mine[falling]][:near]
            density = bins[mine].bincount(minlength=BINS)
            pairs[c, j] = Pair(
                Found.at(rows[own], column[own]),
                Found.at(rows[others], column[others]),
                torch.stack([density, whole - density]),
            )
    return Portraits(tuple(made), pairs, len(rows))


def _looked_at(
    train: Evidence, filters: Sequence[int]
) -> tuple[Int64[Tensor, " n"], Float[Tensor, "n f"], Int64[Tensor, " n"]]:
    responses, labels = train.cached_responses()
    step = -(-len(labels) * len(filters) // NUMBERS)
    rows = torch.arange(0, len(labels), max(1, step))
    values = torch.cat([responses[part][:, list(filters)].float() for part in torch.split(rows, 8192)])
    return rows, values, labels[rows]


def _bins(column: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Which of ``BINS`` equal ones, from the lowest response to the highest, each image's response is in."""
    low, high = float(column.min()), float(column.max())
    if high <= low:
        return torch.zeros(len(column), dtype=torch.long)
    return ((column - low) / (high - low) * BINS).long().clamp(0, BINS - 1)


def _alike(values: Float[Tensor, "n f"], filters: Sequence[int]) -> dict[int, tuple[tuple[int, float], ...]]:
    centred = values - values.mean(0)
    length = centred.norm(dim=0)
    products = (centred.T @ centred) / (length[:, None] * length).clamp(min=1e-12)
    products.fill_diagonal_(0)
    best = products.abs().argsort(dim=1, descending=True, stable=True)[:, :ALIKE].tolist()
    return {
        j: tuple((filters[other], float(products[at, other])) for other in best[at] if other != at)
        for at, j in enumerate(filters)
    }


def _portrait(
    j: int,
    rows: Tensor,
    column: Tensor,
    labels: Tensor,
    falling: Tensor,
    measured: Measured,
    alike: tuple[tuple[int, float], ...],
) -> Portrait:
    rising = column.argsort(stable=True)  # equals by the smaller row, as above
    kinds, counts = torch.unique(labels[falling[:FIRST]], return_counts=True)
    often = counts.argsort(descending=True, stable=True)  # equals by the smaller class
    size = min(4, len(rows))
    quantiles = []
    for quantile in QUANTILES:
        start = max(0, min(len(rows) - size, round(quantile * (len(rows) - 1)) - size // 2))
        some = rising[start : start + size].flip(0)
        quantiles.append(Found.at(rows[some], column[some]))
    silent = (column == 0).nonzero()[:, 0]
    least = silent[:: max(1, len(silent) // size)][:size] if len(silent) else rising[:size]
    quantiles.append(Found.at(rows[least], column[least]))
    known = [place for place, index in enumerate(measured.top.indices[j].tolist()) if index >= 0]
    return Portrait(
        filter=j,
        top=Found.at(measured.top.indices[j, known], measured.top.responses[j, known]),
        quantiles=tuple(quantiles),
        classes=tuple(zip(kinds[often].tolist(), counts[often].tolist(), strict=True)),
        alike=alike,
        low=float(column.min()),
        high=float(column.max()),
        silent=float((column == 0).double().mean()),
    )
