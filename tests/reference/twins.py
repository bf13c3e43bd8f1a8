"""Pairs of classes with the same filters, pair by pair."""

from __future__ import annotations

from itertools import combinations


def pairs(filters: list[list[int]]) -> int:
    """How many pairs of classes with filters have the same."""
    return sum(bool(a) and sorted(a) == sorted(b) for a, b in combinations(filters, 2))
