"""Q-SENN's ternary head, weight by weight."""

from __future__ import annotations

import numpy as np


def ternary(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """± the mean magnitude for each weight that is not zero; biases in equal steps, falling with positive weights."""
    bias = bias - np.mean(bias)
    sizes = [abs(w) for row in weight for w in row if w != 0]
    signs = [[int(w > 0) - int(w < 0) for w in row] for row in weight]
    more = [sum(row) for row in signs]
    step = 2 * max(abs(bias)) / max(1, max(more) - min(more))
    return np.array(signs) * np.mean(sizes), np.array([max(abs(bias)) - step * (m - min(more)) for m in more])
