"""Of the bound: every selection of k filters a class, and the k-support norm by its closed form."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np


def masks(classes: int, filters: int, k: int) -> np.ndarray:
    """Every selection of k filters a class, (selections, C, K)."""
    rows = np.zeros((0, filters), dtype=bool)
    for chosen in combinations(range(filters), k):
        row = np.zeros((1, filters), dtype=bool)
        row[0, list(chosen)] = True
        rows = np.concatenate([rows, row])
    return np.array([np.stack(several) for several in product(rows, repeat=classes)])


def norm(w: np.ndarray, k: int) -> float:
    """The k-support norm (Argyriou, Foygel & Srebro, NIPS 2012, proposition 2.1)."""
    size = np.sort(np.abs(w))[::-1]
    for r in range(k):
        rest = size[k - r - 1 :].sum() / (r + 1)
        before = np.inf if k - r - 1 == 0 else size[k - r - 2]
        if before > rest >= size[k - r - 1]:
            return float(np.sqrt((size[: k - r - 1] ** 2).sum() + (r + 1) * rest**2))
    raise AssertionError("one r holds")
