"""Where a filter fires hardest: the mean over a class's images of its map's maximum."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K, PeakSums, Statistic, class_means


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [PeakSums()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Mean over S_c of max_p a_njp: a filter of one small, bright spot counts as much as one of a whole image."""
    return class_means(evidence, evidence[PeakSums()].sums)
