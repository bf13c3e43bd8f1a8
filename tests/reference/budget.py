"""The rule for a budget of filters, as one would say it: what a pool is worth, and the pool grown filter by filter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import combinations


def worth(orders: Sequence[Sequence[int]], k: int, pool: Collection[int]) -> Fraction:
    """Σ over classes of the best k of 1 / rank in the pool, exactly."""
    return sum((sum(sorted(values(order, pool))[-k:], Fraction(0)) for order in orders), Fraction(0))


def values(order: Sequence[int], pool: Collection[int]) -> list[Fraction]:
    """1 / rank of each of the pool's filters to one class."""
    return [Fraction(1, rank) for rank, j in enumerate(order, 1) if j in pool]


def grown(orders: Sequence[Sequence[int]], k: int, budget: int) -> set[int]:
    """Each time the filter that adds most, the smaller index among equals."""
    pool: set[int] = set()
    while len(pool) < budget:
        others = [j for j in range(len(orders[0])) if j not in pool]
        pool.add(max(others, key=lambda j: (worth(orders, k, {*pool, j}), -j)))
    return pool


def best(orders: Sequence[Sequence[int]], k: int, budget: int) -> Fraction:
    """What the best of all pools is worth."""
    return max(worth(orders, k, pool) for pool in combinations(range(len(orders[0])), budget))
