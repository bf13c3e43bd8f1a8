"""What the joint selection learns from: kept responses, standardised, filter by filter."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

IMAGES = 4096  # images at once
CONSTANT = 1e-6  # of a filter's largest |response|: a deviation below it is rounding


class Standardised(NamedTuple):
    """Standardised responses by filter, then a row of ones; labels among the P classes that have images.

    Constant filters are zero throughout; ``deviation`` is 0 for them. Memory: 4·(K + 1)·N bytes.
    """

    columns: Float[Tensor, "k1 n"]
    labels: Int64[Tensor, " n"]
    present: Int64[Tensor, " p"]
    mean: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]

    @property
    def constant(self) -> Tensor:
        return self.deviation == 0


def standardise(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Standardised:
    """Means and deviations in float64, some images at a time."""
    images, filters = responses.shape
    parts = responses.split(IMAGES)
    mean = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0) / images
    squares = torch.stack([(part.double() - mean).square().sum(0) for part in parts]).sum(0)
    deviation = (squares / images).sqrt()
    deviation = torch.where(deviation > CONSTANT * responses.abs().amax(0), deviation, 0.0)
    scale = torch.where(deviation > 0, 1 / deviation, 0.0)
    columns = torch.empty(filters + 1, images, dtype=torch.float32, device=responses.device)
    columns[-1] = 1.0
    for start, part in zip(range(0, images, IMAGES), parts, strict=True):
        columns[:-1, start : start + IMAGES] = ((part.double() - mean) * scale).T
    present, own = labels.unique(return_inverse=True)
    return Standardised(columns, own, present, mean, deviation)


def label_moments(columns: Float[Tensor, "k1 n"], labels: Int64[Tensor, " n"], classes: int) -> Float[Tensor, "c k1"]:
    """Σ_n [y_n = c]·x_nj / N: what the objective needs of targets that are the labels."""
    found = torch.zeros(classes, len(columns), dtype=torch.float64, device=columns.device)
    for part, truth in zip(columns.split(IMAGES, 1), labels.split(IMAGES), strict=True):
        found += F.one_hot(truth, classes).T.float() @ part.T
    return found / len(labels)


def gram_matrix(columns: Float[Tensor, "k1 n"]) -> Float[Tensor, "k k"]:
    """XXᵀ / N of the standardised responses."""
    filters = len(columns) - 1
    found = torch.zeros(filters, filters, dtype=torch.float64, device=columns.device)
    for part in columns[:-1].split(IMAGES, 1):
        found += part @ part.T
    return found / columns.shape[1]
