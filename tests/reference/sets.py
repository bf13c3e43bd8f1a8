"""Prediction sets, image by image."""

from __future__ import annotations

import math

import numpy as np


def depths(responses: np.ndarray, weight: np.ndarray, bias: np.ndarray, filters: list[list[int]]) -> np.ndarray:
    """(N, C): of the predicted class's filters, the largest contribution first, how many in a row a class has, too."""
    found = np.zeros((len(responses), len(filters)), dtype=int)
    for n, row in enumerate(responses):
        predicted = int(np.argmax(weight @ row + bias))
        order = sorted(filters[predicted], key=lambda j: -weight[predicted, j] * row[j])
        for c, own in enumerate(filters):
            for j in order:
                if j not in own:
                    break
                found[n, c] += 1
    return found


def threshold(scores: list[float], coverage: float) -> float:
    """The ⌈(n + 1)·coverage⌉-th smallest; infinite where there are not so many."""
    at = math.ceil((len(scores) + 1) * coverage)
    return sorted(scores)[at - 1] if at <= len(scores) else math.inf
