"""Orders that put like beside like."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.sparse.linalg import svds
from scipy.spatial.distance import squareform
from torch import Tensor

OPTIMAL = 300  # rows up to which the best of all orders of the tree is looked for: its cost grows with their cube
TREE = 4096  # rows up to which there is a tree: it takes the distances of all pairs


def alike_order(table: Float[Tensor, "r c"]) -> tuple[list[int], list[int]]:
    """Rows and columns, like beside like by direction; those of NaN or zeros come last.

    They are the leaves of a tree of average linkage; of more than 4,096 the angles in the plane of the first two
    principal directions tell the order (Friendly 2002, Corrgrams).
    """
    values = table.nan_to_num().double().numpy()
    return _leaves(values), _leaves(values.T)


def _leaves(values: Float[np.ndarray, "r c"]) -> list[int]:
    lengths = np.linalg.norm(values, axis=1)
    there = np.flatnonzero(lengths > 0)
    rest = [int(row) for row in np.flatnonzero(lengths == 0)]
    if len(there) < 3:
        return [*map(int, there), *rest]
    directions = values[there] / lengths[there, None]
    order = _by_angle(directions) if len(there) > TREE else _by_tree(directions)
    return [*(int(there[place]) for place in order), *rest]


def _by_tree(directions: Float[np.ndarray, "r c"]) -> NDArray[np.integer]:
    distances = np.sqrt((2 - 2 * directions @ directions.T).clip(min=0))
    pairs = squareform(distances, checks=False)
    return np.asarray(leaves_list(linkage(pairs, "average", optimal_ordering=len(directions) <= OPTIMAL)))


def _by_angle(directions: Float[np.ndarray, "r c"]) -> NDArray[np.integer]:
    """Round the circle, from its widest gap on."""
    left, sizes, _ = svds(directions, k=2, v0=np.ones(min(directions.shape)))
    angles = np.arctan2(*(left * sizes).T)
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
    return np.roll(order, -1 - int(np.argmax(gaps)))
