"""What knocking out one filter does to every class, exactly and without a forward pass."""

from __future__ import annotations

from typing import Any

from ddeep.plugin import Context, Selection, SplitEvidence, accuracy_by_class, knockout, predict, right_by_class


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """``drop[c][j]``: points of class c's accuracy lost on the test split with filter j's response set to 0.

    None for absent classes. ``largest`` is the largest drop of all. From z − W[:, j]·r_j (dense head).
    """
    responses, labels = evidence.of_test().cached_responses()
    head = context.needed_head()
    predicted = predict(responses, *head, device=context.device)
    images = evidence.of_test().class_counts
    clean = accuracy_by_class(right_by_class(labels, predicted, len(images)), images)
    right = knockout(responses, labels, *head, device=context.device).double()
    drop = [
        None if before is None else [before - 100 * value / count for value in row]
        for before, row, count in zip(clean, right.tolist(), images.tolist(), strict=True)
    ]
    return {"largest": max((max(row) for row in drop if row is not None), default=None), "drop": drop}
