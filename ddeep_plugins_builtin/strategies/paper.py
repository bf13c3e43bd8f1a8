"""The paper's strategy: how often a filter is among an image's largest responses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ddeep.plugin import (
    Context,
    Evidence,
    K,
    MagnitudeSums,
    MassTopCounts,
    Selection,
    Statistic,
    TopCounts,
    rank_filters,
)


def needs(ks: Sequence[K]) -> list[Statistic]:
    counts: list[Statistic] = [TopCounts(k) if isinstance(k, int) else MassTopCounts(k) for k in ks]
    return [*counts, MagnitudeSums()]


def select(evidence: Evidence, k: K, context: Context) -> Selection:
    """For an integer k, the k filters most often among an image's k largest |r|; ties by larger mean |r|.

    For a fraction q, the filters whose shares of the counts, sorted ascending, have a cumulative sum above q: the most
    frequent ones, holding about 1-q of the counts. That is what the authors' code does; their stable sort keeps the
    larger index where two filters on the edge are equal. The kept ones are in order of share, then of the tie rule.
    """
    ties = evidence[MagnitudeSums()].sums
    if isinstance(k, int):
        counts = evidence[TopCounts(k)].counts
        return Selection.top(counts.double(), k, ties=ties, present=evidence.present, budget=context.budget)
    counts = evidence[MassTopCounts(k)].counts
    kept = _above(counts, k)
    order = rank_filters(counts.double(), ties)
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    rows = [ranked[keep[ranked]].tolist() for ranked, keep in zip(order, kept, strict=True)]
    return Selection.of(
        rows,
        evidence.filters,
        scores=[share[row].tolist() for share, row in zip(shares, rows, strict=True)],
        absent=torch.nonzero(~evidence.present)[:, 0].tolist(),
    )


def _above(counts: Int64[Tensor, "c k"], q: float) -> Bool[Tensor, "c k"]:
    """Filters whose cumulative count, from the rarest up, exceeds q of the total; exact, as counts are integers."""
    ascending, order = counts.sort(dim=1, stable=True)
    beyond = ascending.cumsum(1).double() > q * ascending.sum(1, keepdim=True)
    return torch.zeros_like(beyond).scatter(1, order, beyond)
