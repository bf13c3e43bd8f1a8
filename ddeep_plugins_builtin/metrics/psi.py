"""Ψ, the paper's selectivity of a layer."""

from __future__ import annotations

from typing import Any

import torch

from ddeep.plugin import ConfigError, Context, MassHistogram, Selection, SplitEvidence, Statistic

MASS = 0.5


def needs(split: str, option: float = MASS) -> list[Statistic]:
    if not 0 < option < 1:
        raise ConfigError(f"psi:{option:g}: the mass q must be between 0 and 1, such as psi:0.9.")
    return [MassHistogram(option)] if split == "train" else []


def measure(
    evidence: SplitEvidence,
    selection: Selection | None,  # noqa: ARG001
    context: Context,  # noqa: ARG001
    option: float = MASS,
) -> dict[str, Any]:
    """Ψ_c = (K − median over S_c of m_n(q)) / K, q the option; the mean in place of the median is the second variant.

    ``median`` and ``mean`` are the layer's (means over the classes present); ``per_class`` (medians) and
    ``per_class_mean`` are in class order, None for absent classes; ``silent`` counts images with Σ|r| = 0, left out.
    """
    histogram = evidence.train[MassHistogram(option)]
    filters = evidence.train.filters
    by_median = (filters - histogram.medians()) / filters
    by_mean = (filters - histogram.means()) / filters
    heard = torch.isfinite(by_median) & torch.isfinite(by_mean)
    return {
        "mass": option,
        "median": by_median[heard].mean().item() if heard.any() else None,
        "mean": by_mean[heard].mean().item() if heard.any() else None,
        "per_class": [value if there else None for value, there in zip(by_median.tolist(), heard, strict=True)],
        "per_class_mean": [value if there else None for value, there in zip(by_mean.tolist(), heard, strict=True)],
        "silent": int(histogram.silent.sum()),
    }
