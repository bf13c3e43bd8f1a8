"""Orthogonal least squares from the responses themselves: every filter tried by solving for all weights anew."""

from __future__ import annotations

import numpy as np

RIDGE = 1e-3


def standardised(responses: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 by filter, constant ones 0."""
    centred = responses.astype(np.float64) - responses.mean(0, dtype=np.float64)
    deviation = np.where(np.ptp(responses, axis=0) == 0, 0.0, centred.std(0))
    return centred * np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def error(inputs: np.ndarray, membership: np.ndarray, filters: list[int]) -> float:
    """The least mean squared error + ridge·Σw² of predicting the centred ``membership`` from these filters."""
    goal, columns = membership - membership.mean(), inputs[:, filters]
    gram = columns.T @ columns / len(goal) + RIDGE * np.eye(len(filters))
    weight = np.linalg.solve(gram, columns.T @ goal / len(goal))
    return float(np.mean((goal - columns @ weight) ** 2) + RIDGE * np.sum(weight**2))


def errors_of_next(inputs: np.ndarray, membership: np.ndarray, taken: list[int]) -> dict[int, float]:
    """What is left after taking in each of the filters not ``taken``."""
    others = [j for j in range(inputs.shape[1]) if j not in taken]
    return {j: error(inputs, membership, [*taken, j]) for j in others}
