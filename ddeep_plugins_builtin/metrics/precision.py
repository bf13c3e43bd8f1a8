"""Precision: how many of the images that a class's filters respond to most belong to the class."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ddeep.plugin import Context, Evidence, Selection, SplitEvidence


def most_exciting(evidence: Evidence, c: int, filters: tuple[int, ...]) -> Bool[Tensor, "n f"]:
    """For each of the filters, the |S_c| images with the largest responses (ties: the smaller image index)."""
    responses, _ = evidence.cached_responses()
    count = int(evidence.class_counts[c])
    order = responses[:, list(filters)].argsort(dim=0, descending=True, stable=True)[:count]
    return torch.zeros(len(responses), len(filters), dtype=torch.bool).scatter_(0, order, value=True)


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """R-precision (Manning et al. 2008, section 8.4) of a class's filters on the test split, mean over its filters.

    Of the |S_c| test images with a filter's largest responses, the share that belongs to the class; in percent, per
    class (None for classes without test images or filters) and mean over classes.
    """
    assert selection is not None
    test = evidence.of_test()
    _, labels = test.cached_responses()
    per_class: list[float | None] = []
    for c, filters in enumerate(selection.filters):
        if not filters or not test.present[c]:
            per_class.append(None)
            continue
        found = most_exciting(test, c, filters)
        per_class.append(100 * (found & (labels == c)[:, None]).sum().item() / found.sum().item())
    given = [value for value in per_class if value is not None]
    return {"mean": sum(given) / len(given) if given else None, "per_class": per_class}
