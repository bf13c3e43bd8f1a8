"""Filters as words, classes as documents."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, K, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """μ_cj / Σ_i μ_ci · ln(C / (1 + n_j)), for non-negative responses.

    The first factor is filter j's share of class c's mean responses; n_j counts the classes whose mean response is at
    least the average of filter j's class means, over the C classes present. Wang et al., Federated unlearning via
    class-discriminative pruning, WWW 2022; the formula is that of their code.
    """
    means = class_means(evidence, evidence[ClassSums()].sums)
    present = evidence.present[:, None]
    classes = evidence.present.sum()
    average = means.sum(0) / classes
    # A constant filter is at its average in every class: rounding must not decide.
    documents = (present & (means >= average * (1 - 1e-9))).sum(0)
    frequency = means / means.sum(1, keepdim=True).clamp(min=1e-300)
    return frequency * (classes.double() / (1 + documents)).log()
