"""Coverage: how many images of a class are among those that its filters respond to most."""

from __future__ import annotations

from typing import Any

from ddeep.plugin import Context, Selection, SplitEvidence

from .precision import most_exciting


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """Percent of a class's test images that are among the |S_c| most exciting ones of at least one of its filters.

    ``precision``'s counterpart: recall at the same cut, over the union of the class's filters. Per class (None for
    classes without test images or filters) and mean over classes.
    """
    assert selection is not None
    test = evidence.of_test()
    _, labels = test.cached_responses()
    per_class: list[float | None] = []
    for c, filters in enumerate(selection.filters):
        if not filters or not test.present[c]:
            per_class.append(None)
            continue
        covered = most_exciting(test, c, filters).any(1)[labels == c]
        per_class.append(100 * covered.double().mean().item())
    given = [value for value in per_class if value is not None]
    return {"mean": sum(given) / len(given) if given else None, "per_class": per_class}
