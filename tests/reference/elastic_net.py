"""The elastic-net path in float64: proximal gradient steps, as many as it takes."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

ALPHA = 0.99


def standardised(responses: np.ndarray) -> np.ndarray:
    """Every filter's mean taken away, over its standard deviation; constant filters are 0."""
    columns = []
    for column in responses.astype(np.float64).T:
        constant = np.ptp(column) == 0
        columns.append(np.zeros_like(column) if constant else (column - column.mean()) / column.std())
    return np.array(columns).T


def objective(inputs: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """Mean cross-entropy + λ Σ(α·|w| + (1 - α)/2·w²)."""
    shares = softmax(inputs @ weight.T + bias, axis=1)
    right = [shares[n, label] for n, label in enumerate(labels)]
    return float(-np.mean(np.log(right)) + strength * np.sum(ALPHA * abs(weight) + (1 - ALPHA) / 2 * weight**2))


def slopes(inputs: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gradient of the mean cross-entropy by weights and biases."""
    error = softmax(inputs @ weight.T + bias, axis=1)
    for n, label in enumerate(labels):
        error[n, label] -= 1
    return error.T @ inputs / len(labels), error.mean(0)


def minimum(
    inputs: np.ndarray, labels: np.ndarray, strength: float, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From ``weight`` and ``bias`` by gradient steps with momentum, each followed by the penalty's own minimum (FISTA).

    Moving a filter's weights alike changes no probability; where the penalty is least is searched for by itself.
    """
    size = 2 / (np.linalg.norm(np.c_[inputs, np.ones(len(inputs))], 2) ** 2 / len(inputs))  # 1 / Lipschitz constant
    for _ in range(20):
        ahead, ahead_bias, before = weight, bias, weight
        for number in range(200):
            by_weight, by_bias = slopes(inputs, labels, ahead, ahead_bias)
            moved = ahead - size * by_weight
            shrunk = np.sign(moved) * np.maximum(0, abs(moved) - size * strength * ALPHA)
            shrunk /= 1 + size * strength * (1 - ALPHA)
            offset = ahead_bias - size * by_bias
            ahead, ahead_bias = shrunk + number / (number + 3) * (shrunk - weight), offset
            weight, bias = shrunk, offset
        weight = weight - [best_shift(column) for column in weight.T]
        if abs(weight - before).max() < 1e-8:
            break
    return weight, bias


def best_shift(column: np.ndarray) -> float:
    """What to take from a filter's weights to make Σ(α·|w| + (1 - α)/2·w²) least."""

    def cost(shift: float) -> float:
        return float(np.sum(ALPHA * abs(column - shift) + (1 - ALPHA) / 2 * (column - shift) ** 2))

    found = minimize_scalar(cost, bounds=(column.min() - 1e-12, column.max() + 1e-12), options={"xatol": 1e-12})
    return min([0.0, *column, float(found.x)], key=cost)


def path(
    responses: np.ndarray, labels: np.ndarray, classes: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Weight, bias, |gradient| and λ at the first λ at which every class has k weights, each a fifth less than before.

    The path ends at a thousandth of the largest.
    """
    inputs = standardised(responses)
    weight, bias = np.zeros((classes, inputs.shape[1])), np.log(np.bincount(labels, minlength=classes) / len(labels))
    strength = abs(slopes(inputs, labels, weight, bias)[0]).max() / ALPHA
    least = strength / 1000
    while strength > least:
        strength *= 0.8
        weight, bias = minimum(inputs, labels, strength, weight, bias)
        if all(sum(row != 0) >= k for row in weight):
            break
    return weight, bias, abs(slopes(inputs, labels, weight, bias)[0]), strength
