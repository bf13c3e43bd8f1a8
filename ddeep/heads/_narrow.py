"""Heads with few weights a class: logits, and slopes by the weights, from those alone instead of the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.head import Head
from ..selections.members import members

# From so many weights in the table on, and up to this share of them in use (docs/cost.md, After the pass).
TABLE, SHARE = 2**15, 0.25
NUMBERS = 2**21  # logits at once: few enough for the processor's cache
IMAGES = 8192  # at once under heads that are not narrow
FEWEST = 64  # images at once: with fewer, each filter's row is too short to be worth fetching


class Narrow(NamedTuple):
    """For each of R rows the filters in use, then the row of ones; a value for each. Unused places have value 0."""

    places: Int64[Tensor, "r m1"]
    values: Float[Tensor, "r m1"]

    def logits(self, columns: Float[Tensor, "k1 n"]) -> Float[Tensor, "r n"]:
        """What every row gives every image, in the columns' precision."""
        return F.embedding_bag(self.places, columns, per_sample_weights=self.values.to(columns.dtype), mode="sum")


def worth_it(classes: int, filters: int, width: int) -> bool:
    """Whether rows of ``width`` filters are faster than the whole table of that size."""
    return classes * filters >= TABLE and width + 1 <= SHARE * filters


def narrowed(weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"], mask: Bool[Tensor, "c k"]) -> Narrow:
    """A head's weights inside ``mask``, and its bias."""
    filters, taken = members(mask)
    values = torch.cat([weight.gather(1, filters) * taken, bias[:, None].to(weight)], 1)
    return Narrow(torch.cat([filters, torch.full_like(filters[:, :1], weight.shape[1])], 1), values)


def columns_of(responses: Float[Tensor, "n k"]) -> Float[Tensor, "k1 n"]:
    """Responses filter by filter, and a row of ones below them."""
    columns = responses.new_empty(responses.shape[1] + 1, len(responses))
    columns[:-1], columns[-1] = responses.T, 1.0
    return columns


class Logits(NamedTuple):
    """Of the images ``rows`` under the heads ``which``: ``logits`` ``(H, C, n)``."""

    rows: slice
    which: Int64[Tensor, " h"]
    logits: Float[Tensor, "h c n"]


def logits_of(heads: Sequence[Head], responses: Float[Tensor, "n k"], device: torch.device) -> Iterator[Logits]:
    """The logits of all images under all heads of one shape, in parts; each response is read once.

    Heads of few weights are computed from those alone, side by side with others as narrow.
    """
    groups = _groups(heads, device)
    classes = len(heads[0].bias)
    images = min(IMAGES, max(FEWEST, NUMBERS // (classes * len(heads))))
    several = max(1, NUMBERS // (classes * images))
    for start in range(0, len(responses), images):
        rows = slice(start, start + images)
        columns = columns_of(responses[rows].to(device))
        for which, table in groups:
            for some in range(0, len(which), several):
                part = slice(some * classes, (some + several) * classes)
                logits = (
                    Narrow(*(whole[part] for whole in table)).logits(columns)
                    if isinstance(table, Narrow)
                    else (table[part] @ columns)
                )
                yield Logits(rows, which[some : some + several], logits.view(-1, classes, columns.shape[1]))


def _groups(heads: Sequence[Head], device: torch.device) -> list[tuple[Int64[Tensor, " h"], Narrow | Tensor]]:
    """Which heads go together, and their rows: narrow ones by width, all others as one table with the biases last."""
    masks = [head.weight != 0 for head in heads]
    widths = [int(mask.sum(1).max()) for mask in masks]
    filters = heads[0].weight.shape[1]
    ways = [width if worth_it(len(heads[0].bias), filters, width) else filters for width in widths]
    found: list[tuple[Int64[Tensor, " h"], Narrow | Tensor]] = []
    for way in sorted(set(ways)):
        which = [number for number, own in enumerate(ways) if own == way]
        if way < filters:
            each = [narrowed(*heads[number], masks[number]) for number in which]
            table: Narrow | Tensor = Narrow(*(torch.cat(parts).to(device) for parts in zip(*each, strict=True)))
        else:
            each_row = [torch.cat([heads[number].weight, heads[number].bias[:, None]], 1) for number in which]
            table = torch.cat(each_row).detach().to(device)
        found.append((torch.tensor(which), table))
    return found
