"""Structural grounding of QPM, by pairs of sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations


def ratio(filters: Sequence[Sequence[int]], alike: Sequence[Sequence[float]], pairs: int) -> float:
    """Of the ``pairs`` pairs of classes that are most ``alike``, what they share over how alike they are."""
    ranked = sorted(combinations(range(len(filters)), 2), key=lambda pair: -alike[pair[0]][pair[1]])[:pairs]
    shared = sum(len({*filters[a]} & {*filters[b]}) / math.sqrt(len(filters[a]) * len(filters[b])) for a, b in ranked)
    return shared / sum(alike[a][b] for a, b in ranked)
