"""The class selectivity index of Morcos et al. (2018)."""

from __future__ import annotations

import warnings

from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, Extremes, Selection, SplitEvidence, Statistic

EPSILON = 1e-7


def needs(split: str) -> list[Statistic]:
    return [ClassSums(), Extremes()] if split == "train" else []


def index(
    best: Float[Tensor, " k"], total: Float[Tensor, " k"], classes: int | Int64[Tensor, ""]
) -> Float[Tensor, " k"]:
    """SI_j = (μ_max − μ_−max) / (μ_max + μ_−max + 1e-7), from the largest class mean and the sum of all.

    μ_−max is the mean over the classes other than the best.
    """
    others = (total - best) / (classes - 1)
    return (best - others) / (best + others + EPSILON)


def selectivity(means: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """The index of every filter, from class means."""
    return index(means.amax(0), means.sum(0), len(means))


def class_means(evidence: Evidence) -> Float[Tensor, "p k"]:
    """μ of the classes present, class by filter."""
    present = evidence.present
    return evidence[ClassSums()].sums[present] / evidence.class_counts[present, None]


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float | None:  # noqa: ARG001
    """Mean of SI over filters, from class means over the classes present; None where it is not defined."""
    train = evidence.train
    if train[Extremes()].low.min() < 0:
        warnings.warn(
            f"class-selectivity is defined for non-negative responses; layer {train.layer.name!r} has negative ones, "
            "so none is given. Choose a layer after a ReLU.",
            stacklevel=2,
        )
        return None
    means = class_means(train)
    return selectivity(means).mean().item() if len(means) > 1 else None
