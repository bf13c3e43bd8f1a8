"""Means by class from gathered sums: what most closed-form strategies start from."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from .evidence import Evidence


def class_means(evidence: Evidence, sums: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """``sums`` over each class's images, divided by their number; 0 for classes without images."""
    return sums / evidence.class_counts.clamp(min=1)[:, None]


def other_means(means: Float[Tensor, "c k"], present: Bool[Tensor, " c"]) -> Float[Tensor, "c k"]:
    """Mean of the class means over the *other* classes present, each class weighing the same; 0 where there is none."""
    here = means * present[:, None]
    others = present.sum() - present.long()
    return (here.sum(0) - here) / others.clamp(min=1)[:, None]
