"""QPM from the definition: correlations by numpy, and the best of all pools and all choices of filters."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np


def correlations(responses: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """A: of every class (row) and filter, over the largest; 0 where a filter does not vary."""
    found = np.zeros((classes, responses.shape[1]))
    for c in range(classes):
        for j, column in enumerate(responses.T.astype(np.float64)):
            if np.ptp(column) > 0 and 0 < np.sum(labels == c) < len(labels):
                found[c, j] = np.corrcoef(column, labels == c)[0, 1]
    return found / abs(found).max()


def cosines(table: np.ndarray) -> np.ndarray:
    """R: of the columns of A, negative ones 0, over the largest off the diagonal."""
    filters = table.shape[1]
    found = np.zeros((filters, filters))
    for i, j in product(range(filters), repeat=2):
        lengths = np.linalg.norm(table[:, i]) * np.linalg.norm(table[:, j])
        if i != j and lengths > 0:
            found[i, j] = max(0.0, table[:, i] @ table[:, j] / lengths)
    return found / found.max()


def threshold(similarity: np.ndarray, size: int) -> float:
    """The smallest τ at which ``size`` filters are no more alike than that, pair by pair."""
    pools = combinations(range(len(similarity)), size)
    return min(max((similarity[i, j] for i, j in combinations(pool, 2)), default=0.0) for pool in pools)


def best(gain: np.ndarray, cost: np.ndarray, k: int, size: int) -> tuple[float, float]:
    """The largest objective with no two classes alike, and with no regard to that."""
    distinct, free = -np.inf, -np.inf
    for pool in combinations(range(gain.shape[1]), size):
        redundancy = sum(cost[i, j] for i, j in combinations(pool, 2))
        choices = list(combinations(pool, k))
        worth = [[sum(row[j] for j in choice) for choice in choices] for row in gain]
        free = max(free, sum(max(row) for row in worth) - redundancy)
        for taken in product(range(len(choices)), repeat=len(gain)):
            if len(set(taken)) == len(taken):
                total = sum(worth[c][choice] for c, choice in enumerate(taken))
                distinct = max(distinct, total - redundancy)
    return distinct, free
