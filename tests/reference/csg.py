"""The class-specific gate, image by image and entry by entry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def projected(gate: np.ndarray) -> np.ndarray:
    """Every row rescaled to a maximum of 1 and clamped to [0, 1]; open where nothing in it is positive."""
    rows = []
    for row in gate:
        largest = max(row)
        rows.append([1.0 if largest <= 0 else min(1.0, max(0.0, value / largest)) for value in row])
    return np.array(rows)


def penalty(
    responses: np.ndarray,
    labels: Sequence[int],
    gate: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    gated: float,
    density: float,
    budget: float,
) -> float:
    """The term for an already projected gate."""
    loss = 0.0
    for n, label in enumerate(labels):
        shown = [responses[n, j] * gate[label, j] for j in range(responses.shape[1])]
        logits = [sum(w * r for w, r in zip(row, shown, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        loss += math.log(sum(math.exp(z) for z in logits)) - logits[label]
    norm = sum(abs(value) for row in gate for value in row)
    classes = len(gate)
    return gated * loss / len(labels) + density * max(0.0, norm - budget * classes) / classes


def learned(
    responses: np.ndarray,
    labels: Sequence[int],
    weight: np.ndarray,
    bias: np.ndarray,
    density: float,
    budget: float,
    steps: int,
    rate: float,
) -> np.ndarray:
    """The open gate after some steps of Adam on differences of the penalty, all images in each, projected each time."""
    gate = np.ones(weight.shape)
    first, second = np.zeros(gate.shape), np.zeros(gate.shape)
    for step in range(1, steps + 1):
        slope = np.zeros(gate.shape)
        for place in np.ndindex(*gate.shape):
            shift = np.zeros(gate.shape)
            shift[place] = 1e-6
            above, below = (
                penalty(responses, labels, moved, weight, bias, 1.0, density, budget)
                for moved in (gate + shift, gate - shift)
            )
            slope[place] = (above - below) / 2e-6
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        gate = projected(gate - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8))
    return gate
