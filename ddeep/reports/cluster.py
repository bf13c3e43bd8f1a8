"""Orders that put like beside like."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor

OPTIMAL = 300  # rows up to which the best of all orders of the tree is looked for: its cost grows with their cube


def alike_order(table: Float[Tensor, "r c"]) -> tuple[list[int], list[int]]:
    """Rows and columns as the leaves of trees of average linkage, by direction; those of NaN or zeros come last."""
    values = table.nan_to_num().double().numpy()
    return _leaves(values), _leaves(values.T)


def _leaves(values: Float[np.ndarray, "r c"]) -> list[int]:
    lengths = np.linalg.norm(values, axis=1)
    there = np.flatnonzero(lengths > 0)
    rest = [int(row) for row in np.flatnonzero(lengths == 0)]
    if len(there) < 3:
        return [*map(int, there), *rest]
    tree = linkage(values[there] / lengths[there, None], "average", "euclidean", optimal_ordering=len(there) <= OPTIMAL)
    return [*(int(there[leaf]) for leaf in leaves_list(tree)), *rest]
