"""Classes that a selection cannot tell apart by their filters."""

from __future__ import annotations

from ddeep.plugin import Context, Selection, SplitEvidence


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float:  # noqa: ARG001
    """The number of pairs of classes that have the same filters, in whatever order."""
    assert selection is not None
    _, counts = selection.membership().unique(dim=0, return_counts=True)
    return float((counts * (counts - 1) // 2).sum())
