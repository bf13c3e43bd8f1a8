"""How much selections agree: which filters they share, and in what order they put them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    chosen = torch.stack([_Lists.of(selection).members for selection in selections]).double()
    both = torch.einsum("ack,bck->abc", chosen, chosen)
    sizes = chosen.sum(2)
    either = sizes[:, None] + sizes[None] - both
    return torch.where(either > 0, both / either, torch.nan).nanmean(2)


def rank_agreement(selections: Sequence[Selection]) -> Float[Tensor, "s s"]:
    """Kendall's τ-b of the two orders of the filters that either selection has for a class, mean over classes.

    A selection puts what it does not have last, all alike: the top-k lists of Fagin, Kumar & Sivakumar (Comparing top k
    lists, SIAM J. Discrete Math. 17(1), 2003), with ties as in Kendall (1945). 1 for the same order, -1 for the
    reverse, below 0 for lists without a common filter. NaN for single filters, which have no order.
    """
    lists = [_Lists.of(selection) for selection in selections]
    found = torch.eye(len(selections), dtype=torch.float64)
    for a in range(len(selections)):
        for b in range(a, len(selections)):
            found[a, b] = found[b, a] = _tau(lists[a], lists[b]).nanmean()
    return found


class _Lists(NamedTuple):
    """Every class's filters in its order, ``counted`` where there is one, and every filter's ``places`` or K."""

    order: Int64[Tensor, "c m"]
    counted: Bool[Tensor, "c m"]
    places: Int64[Tensor, "c k"]

    @classmethod
    def of(cls, selection: Selection) -> _Lists:
        sizes = torch.tensor([len(row) for row in selection.filters])
        counted = torch.arange(max(1, int(sizes.max()))) < sizes[:, None]
        order = torch.zeros(counted.shape, dtype=torch.int64)
        order[counted] = torch.tensor([filter_ for row in selection.filters for filter_ in row], dtype=torch.int64)
        places = torch.full((len(sizes), selection.num_filters), selection.num_filters)
        classes, ranks = counted.nonzero(as_tuple=True)
        places[classes, order[counted]] = ranks
        return cls(order, counted, places)

    @property
    def members(self) -> Bool[Tensor, "c k"]:
        """Which filters a class has; none where it is absent."""
        return self.places < self.places.shape[1]


def _tau(a: _Lists, b: _Lists) -> Float[Tensor, " c"]:
    """τ-b of every class's two lists, each of which puts last what the other has alone.

    Only two filters that both lists have can be in any order. Of the other pairs, one list says which comes first: it
    is the filter that it has.
    """
    shared = b.members.gather(1, a.order) & a.counted, a.members.gather(1, b.order) & b.counted
    both = shared[0].sum(1)
    alone = [one.counted.sum(1) - both for one in (a, b)]
    product = _in_order(b.places.gather(1, a.order), shared[0]) - alone[0] * alone[1]
    for one, own in zip((a, b), shared, strict=True):
        earlier = own.cumsum(1)  # shared ones before a filter that this list has alone; all others come after it
        product += torch.where(one.counted & ~own, 2 * earlier - both[:, None], 0).sum(1)
    norms = [_pairs(both + mine) + (both + mine) * others for mine, others in (alone, alone[::-1])]
    return product / (norms[0] * norms[1]).double().sqrt()


def _pairs(counts: Int64[Tensor, " c"]) -> Int64[Tensor, " c"]:
    return counts * (counts - 1) // 2


def _in_order(places: Int64[Tensor, "c m"], these: Bool[Tensor, "c m"]) -> Int64[Tensor, " c"]:
    """Of ``these`` places of every row, the pairs that rise from left to right less those that fall."""
    own, counted = members(these)
    found = []
    for rows in torch.split(torch.arange(len(own)), max(1, CELLS // own.shape[1] ** 2)):
        listed = places[rows].gather(1, own[rows])
        pairs = (counted[rows, :, None] & counted[rows, None, :]).triu(1)
        found.append(((listed[:, None] - listed[:, :, None]).sign() * pairs).sum((1, 2)))
    return torch.cat(found)
