"""SLDD's pool, path and cut in float64, by the reference of the elastic net."""

from __future__ import annotations

import numpy as np

from tests.reference import elastic_net


def pool(inputs: np.ndarray, labels: np.ndarray, size: int) -> list[int]:
    """The filter with the longest column of the gradient, then a fit, and so on."""
    classes = labels.max() + 1
    weight, bias = np.zeros((classes, inputs.shape[1])), np.log(np.bincount(labels) / len(labels))
    strength = 0.1 * abs(elastic_net.slopes(inputs, labels, weight, bias)[0]).max() / elastic_net.ALPHA
    chosen: list[int] = []
    while len(chosen) < size:
        slopes = elastic_net.slopes(inputs, labels, weight, bias)[0]
        lengths = [np.sqrt(sum(slopes[:, j] ** 2)) if j not in chosen else -1 for j in range(inputs.shape[1])]
        chosen.append(int(np.argmax(lengths)))
        part, bias = elastic_net.minimum(inputs[:, chosen], labels, strength, weight[:, chosen], bias)
        weight[:, chosen] = part
    return sorted(chosen)


def head(inputs: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the last head on the path with at most 2k weights a class on average, the k·C largest weights; the biases."""
    classes = labels.max() + 1
    weight, bias = np.zeros((classes, inputs.shape[1])), np.log(np.bincount(labels) / len(labels))
    largest = abs(elastic_net.slopes(inputs, labels, weight, bias)[0]).max() / elastic_net.ALPHA
    last, strength = None, largest
    while strength > largest / 1000:
        strength *= 0.8
        weight, bias = elastic_net.minimum(inputs, labels, strength, weight, bias)
        if last is not None and np.count_nonzero(weight) > 2 * k * classes:
            break
        last = weight, bias
    assert last is not None
    weight, bias = last
    order = np.argsort(-abs(weight).ravel(), kind="stable")[: k * classes]
    kept = np.isin(np.arange(weight.size), order).reshape(weight.shape)
    for c, row in enumerate(weight):
        kept[c, abs(row).argmax()] = True
    return weight * kept, bias
