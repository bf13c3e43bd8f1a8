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
    def classes(self) -> int:
        """P."""
        return len(self.present)

    @property
    def varying(self) -> int:
        """Filters that are not constant."""
        return int((self.deviation > 0).sum())


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


def label_moments(data: Standardised) -> Float[Tensor, "p k1"]:
    """Σ_n [y_n = c]·x_nj / N: what the objective needs of targets that are the labels."""
    found = torch.zeros(data.classes, len(data.columns), dtype=torch.float64, device=data.columns.device)
    for part, truth in zip(data.columns.split(IMAGES, 1), data.labels.split(IMAGES), strict=True):
        found += F.one_hot(truth, data.classes).T.float() @ part.T
    return found / len(data.labels)


def gram_matrix(data: Standardised) -> Float[Tensor, "k k"]:
    """XXᵀ / N of the standardised responses."""
    filters = len(data.columns) - 1
    found = torch.zeros(filters, filters, dtype=torch.float64, device=data.columns.device)
    for part in data.columns[:-1].split(IMAGES, 1):
        found += part @ part.T
    return found / len(data.labels)
