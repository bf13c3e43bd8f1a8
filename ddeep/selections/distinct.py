"""Selections in which no two classes have the same filters."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import SelectionError
from .selection import Selection


def twins(selection: Selection) -> list[list[int]]:
    """The groups of classes that have the same filters, in whatever order."""
    found: dict[frozenset[int], list[int]] = {}
    for c, filters in enumerate(selection.filters):
        if filters:
            found.setdefault(frozenset(filters), []).append(c)
    return [classes for classes in found.values() if len(classes) > 1]


def set_apart(selection: Selection, scores: Float[Tensor, "c k"] | None, budget: int | None = None) -> Selection:
    """The same selection, but that of classes alike all but one have other filters, by one exchange each.

    With a ``budget`` no filter comes in that no class has had.
    Of all exchanges that make a class unlike any other, the one that costs the class least in score comes first. Raises
    SelectionError where there are no ``scores`` of all filters to choose by, or no exchange helps.
    """
    groups = twins(selection)
    if groups and scores is None:
        first, second = groups[0][:2]
        raise SelectionError(
            f"Classes {first} and {second} have the same filters, and the strategy scores no others to choose from. "
            "Leave out --distinct, or choose a strategy that scores all filters."
        )
    usable = torch.ones(selection.num_filters, dtype=torch.bool)
    if budget is not None:
        usable = selection.membership().any(0)
    while groups:
        assert scores is not None
        taken = {frozenset(filters) for filters in selection.filters}
        moves = [_exchange(selection, c, scores[c], taken, usable) for group in groups for c in group]
        possible = [move for move in moves if move is not None]
        if not possible:
            raise SelectionError(
                f"Classes {groups[0][0]} and {groups[0][1]} have the same filters, and no exchange of one filter sets "
                "them apart: there are too few filters. Choose another k, or leave out --distinct."
            )
        _, c, row = min(possible, key=lambda move: move[0])
        selection = _with_row(selection, c, row, scores[c])
        groups = twins(selection)
    return selection


def _exchange(
    selection: Selection,
    c: int,
    scores: Float[Tensor, " k"],
    taken: set[frozenset[int]],
    usable: Bool[Tensor, " k"],
) -> tuple[float, int, list[int]] | None:
    """What the cheapest exchange costs class ``c``, and its filters afterwards."""
    own = list(selection.filters[c])
    outside: Bool[Tensor, " k"] = usable.clone()
    outside[own] = False
    others = outside.nonzero()[:, 0]
    costs = scores[own].double()[:, None] - scores[others].double()
    for at in costs.flatten().argsort(stable=True).tolist():
        out, into = divmod(at, len(others))
        row = [*own[:out], *own[out + 1 :], int(others[into])]
        if frozenset(row) not in taken:
            return costs[out, into].item(), c, row
    return None


def _with_row(selection: Selection, c: int, row: list[int], scores: Float[Tensor, " k"]) -> Selection:
    ordered = sorted(row, key=lambda j: -float(scores[j]))
    filters, given = list(selection.filters), list(selection.scores)
    filters[c], given[c] = tuple(ordered), tuple(float(scores[j]) for j in ordered)
    return replace(selection, filters=tuple(filters), scores=tuple(given))
