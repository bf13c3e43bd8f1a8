"""How much selections agree: which filters they share, and in what order they put them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .members import members
from .selection import Selection

CELLS = 2**24  # pairs of filters compared at once


def jaccard(selections: Sequence[Selection]) -> Float[Tensor, "s s"]:
    """Filters that two selections share for a class over those that either has, mean over classes.

    Classes without filters in either are left out; NaN where none is left.
    """
    members = torch.stack([_members(selection) for selection in selections]).double()
    both = torch.einsum("ack,bck->abc", members, members)
    sizes = members.sum(2)
    either = sizes[:, None] + sizes[None] - both
    return torch.where(either > 0, both / either, torch.nan).nanmean(2)


def rank_agreement(selections: Sequence[Selection]) -> Float[Tensor, "s s"]:
    """Kendall's τ-b of the two orders of the filters that either selection has for a class, mean over classes.

    A selection puts what it does not have last, all alike: the top-k lists of Fagin, Kumar & Sivakumar (Comparing top k
    lists, SIAM J. Discrete Math. 17(1), 2003), with ties as in Kendall (1945). 1 for the same order, -1 for the
    reverse, below 0 for lists without a common filter. NaN for single filters, which have no order.
    """
    places = [_places(selection) for selection in selections]
    found = torch.eye(len(selections), dtype=torch.float64)
    for a in range(len(selections)):
        for b in range(a, len(selections)):
            found[a, b] = found[b, a] = _tau(places[a], places[b], _members(selections[a]) | _members(selections[b]))
    return found


def _tau(a: Int64[Tensor, "c k"], b: Int64[Tensor, "c k"], either: Bool[Tensor, "c k"]) -> Tensor:
    """Mean τ-b over classes of two tables of places, over the filters in ``either``."""
    own, counted = members(either)
    found = []
    for rows in torch.split(torch.arange(len(own)), max(1, CELLS // own.shape[1] ** 2)):
        pairs = counted[rows, :, None] & counted[rows, None, :]
        signs = [_signs(places.gather(1, own)[rows]) * pairs for places in (a, b)]
        product, *norms = (x.mul(y).sum((1, 2)) for x, y in ((signs[0], signs[1]), signs[:1] * 2, signs[1:] * 2))
        found.append(product / (norms[0] * norms[1]).sqrt())
    return torch.cat(found).nanmean()


def _signs(places: Int64[Tensor, "c m"]) -> Float[Tensor, "c m m"]:
    """For every pair of filters 1 where the first comes later, -1 where earlier, 0 where they are alike."""
    return (places[:, :, None] - places[:, None, :]).sign().double()


def _places(selection: Selection) -> Int64[Tensor, "c k"]:
    """Place of every filter in its class's order, K for those not selected."""
    places = torch.full((len(selection.filters), selection.num_filters), selection.num_filters)
    for c, row in enumerate(selection.filters):
        places[c, list(row)] = torch.arange(len(row))
    return places


def _members(selection: Selection) -> Bool[Tensor, "c k"]:
    """Which filters a class has; none where it is absent."""
    return _places(selection) < selection.num_filters
