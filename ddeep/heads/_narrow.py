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

# From so many weights in the table on, and up to this share of a class's in use (docs/cost.md, After the pass). Of a
# head up to that share of the classes may have more, as those have that no image told anything of.
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


class Rows(NamedTuple):
    """R rows, of which those named by ``wide`` have more filters: their ``weights`` beside what ``narrow`` holds."""

    narrow: Narrow
    wide: Int64[Tensor, " w"]
    weights: Float[Tensor, "w k"]

    @classmethod
    def below(cls, each: Sequence[Rows]) -> Rows:
        """All rows, one's below another's; their narrow ones are of one width."""
        narrow = Narrow(*(torch.cat(parts) for parts in zip(*(rows.narrow for rows in each), strict=True)))
        starts = [len(rows.narrow.places) * number for number, rows in enumerate(each)]
        wide = torch.cat([rows.wide + start for rows, start in zip(each, starts, strict=True)])
        return cls(narrow, wide, torch.cat([rows.weights for rows in each]))

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` up to ``stop``."""
        inside = (self.wide >= start) & (self.wide < stop)
        narrow = Narrow(self.narrow.places[start:stop], self.narrow.values[start:stop])
        return Rows(narrow, self.wide[inside] - start, self.weights[inside])

    def to(self, device: torch.device) -> Rows:
        """The same there."""
        return Rows(Narrow(*(table.to(device) for table in self.narrow)), self.wide.to(device), self.weights.to(device))

    def logits(self, columns: Float[Tensor, "k1 n"]) -> Float[Tensor, "r n"]:
        """What every row gives every image."""
        found = self.narrow.logits(columns)
        return (
            found.index_add_(0, self.wide, self.weights.to(columns.dtype) @ columns[:-1]) if len(self.wide) else found
        )


def worth_it(classes: int, filters: int, width: int) -> bool:
    """Whether rows of ``width`` filters are faster than the whole table of that size."""
    return classes * filters >= TABLE and width + 1 <= SHARE * filters


def narrowed(head: Head, wide: Bool[Tensor, " c"]) -> Rows:
    """A head's weights but for 0, and its bias; all weights of the classes that are ``wide``."""
    weight, bias = head.weight.detach(), head.bias.detach()
    filters, taken = members((weight != 0) & ~wide[:, None])
    values = torch.cat([weight.gather(1, filters) * taken, bias[:, None].to(weight)], 1)
    places = torch.cat([filters, torch.full_like(filters[:, :1], weight.shape[1])], 1)
    return Rows(Narrow(places, values), torch.nonzero(wide)[:, 0], weight[wide])


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
                start_row, stop_row = some * classes, (some + several) * classes
                logits = (
                    table.part(start_row, stop_row).logits(columns)
                    if isinstance(table, Rows)
                    else (table[start_row:stop_row] @ columns)
                )
                yield Logits(rows, which[some : some + several], logits.view(-1, classes, columns.shape[1]))


def _groups(heads: Sequence[Head], device: torch.device) -> list[tuple[Int64[Tensor, " h"], Rows | Tensor]]:
    """Which heads go together, and their rows: narrow ones by width, all others as one table with the biases last."""
    classes, filters = heads[0].weight.shape
    widths = [(head.weight != 0).sum(1) for head in heads]
    wide = [width + 1 > SHARE * filters for width in widths]
    ways = [
        int(width[~own].max()) if classes * filters >= TABLE and int(own.sum()) <= SHARE * classes else filters
        for width, own in zip(widths, wide, strict=True)
    ]
    found: list[tuple[Int64[Tensor, " h"], Rows | Tensor]] = []
    for way in sorted(set(ways)):
        which = [number for number, own in enumerate(ways) if own == way]
        if way < filters:
            table: Rows | Tensor = Rows.below([narrowed(heads[number], wide[number]) for number in which]).to(device)
        else:
            each_row = [torch.cat([heads[number].weight, heads[number].bias[:, None]], 1) for number in which]
            table = torch.cat(each_row).detach().to(device)
        found.append((torch.tensor(which), table))
    return found
