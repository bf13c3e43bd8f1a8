"""Class-independence of filters, as sparse-head networks report it."""

from __future__ import annotations

from ddeep.plugin import ClassSums, Context, Extremes, Selection, SplitEvidence, Statistic


def needs(split: str) -> list[Statistic]:
    return [ClassSums(), Extremes()] if split == "train" else []


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float | None:  # noqa: ARG001
    """Mean over filters of 1 − max_c Σ_{n∈S_c}(r_nj − min_j) / Σ_n(r_nj − min_j), on the train split.

    Near 1 − 1/C for filters that all classes share, 0 for filters of a single class. The filters are those that some
    class has selected, or all of the layer. It is not defined for constant filters: they are left out; None where all
    are constant. Norrenbrock et al., QPM, ICLR 2025 (arXiv 2502.20130).
    """
    train = evidence.train
    low = train[Extremes()].low.double()
    above = train[ClassSums()].sums - train.class_counts[:, None] * low
    total = above.sum(0)
    moving = train[Extremes()].high > train[Extremes()].low
    if selection is not None:
        moving &= selection.membership().any(0)
    if not moving.any():
        return None
    return (1 - above.amax(0)[moving] / total[moving]).mean().item()
