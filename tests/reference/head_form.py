"""A head in a form, and the best of that form with given signs: few numbers, found by scipy's own minimiser."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tests.reference.refit import objective


def head(
    numbers: np.ndarray, signs: np.ndarray, mean: np.ndarray, deviation: np.ndarray, form: str
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (C, K) and bias (C,) for responses as they are; ``signs`` (C, K) are 1, -1, or 0 where not selected."""
    classes, filters = signs.shape
    weight, bias = np.zeros((classes, filters)), np.zeros(classes)
    for c in range(classes):
        magnitude = numbers[c] if form == "shared" else numbers[0]
        if form != "binary":
            bias[c] = numbers[(classes if form == "shared" else 1) + c]
        for j in range(filters):
            if signs[c, j] != 0 and deviation[j] > 0:
                weight[c, j] = magnitude * signs[c, j] / deviation[j]
                bias[c] -= weight[c, j] * mean[j]
    return weight, bias


def least(responses: np.ndarray, labels: np.ndarray, signs: np.ndarray, l2: float, form: str) -> float:
    """The least objective of the refit among heads of the form."""
    mean, deviation = responses.mean(0), responses.std(0)
    classes = len(signs)
    count = {"shared": 2 * classes, "ternary": 1 + classes, "binary": 1}[form]

    def loss(numbers: np.ndarray) -> float:
        return objective(responses, labels, *head(numbers, signs, mean, deviation, form), signs != 0, l2)

    return float(minimize(loss, np.full(count, 0.1), method="BFGS", options={"gtol": 1e-9}).fun)
