"""What the learned strategies learn from: cached responses, standardised, of the classes that have images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

MOST_IMAGES = 100_000


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Standardised responses, labels among the P classes present, and which classes those are.

    Constant filters are zero throughout. ``mean`` and ``deviation`` are each filter's, the deviation 0 for constant
    ones.
    """

    inputs: Float[Tensor, "n k"]
    labels: Int64[Tensor, " n"]
    present: Int64[Tensor, " p"]
    mean: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]


def training_set(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], seed: int) -> TrainingSet:
    """All kept images, or a random 100,000 of them (by ``seed``) where there are more."""
    if len(labels) > MOST_IMAGES:
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:MOST_IMAGES].sort().values
        responses, labels = responses[chosen], labels[chosen]
    deviation, mean = torch.std_mean(responses.double(), dim=0, correction=0)
    deviation = torch.where(deviation > 1e-6 * responses.abs().amax(0), deviation, 0.0)
    scale = torch.where(deviation > 0, 1 / deviation, 0.0)
    inputs = (responses - mean.float()) * scale.float()
    present, own = labels.unique(return_inverse=True)
    return TrainingSet(inputs, own, present, mean, deviation)
