"""The mistakes that changed most between the full network and a run's last stage, and the images that show them."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from .findings import Measured

MOST_CHANGES = 40
LISTED = 14  # of them, as many as the page's table has rows


def changes(measured: Measured, final: str) -> list[list[int]]:
    """The mistakes that changed most: (true, predicted, images before, images after)."""
    before, after = measured.confusions["full"], measured.confusions[final]
    change = (after - before).coalesce()  # in the order of the pairs
    (true, told), sizes = change.indices(), change.values().abs()
    mistakes = ((true != told) & (sizes > 0)).nonzero()[:, 0]
    most = mistakes[sizes[mistakes].argsort(descending=True, stable=True)[:MOST_CHANGES]]
    pairs = zip(true[most].tolist(), told[most].tolist(), strict=True)
    return [[c, p, int(before[c, p]), int(after[c, p])] for c, p in pairs]


def listed(measured: Measured, final: str) -> Int64[Tensor, " n"]:
    """For every test image which listed mistake it shows, by its row: one made before and not after, or the reverse.

    -1 for all others.
    """
    labels, before, after = measured.labels, measured.predictions["full"], measured.predictions[final]
    rows = torch.full_like(labels, -1)
    for row, (c, p, *_) in reversed(list(enumerate(changes(measured, final)[:LISTED]))):
        rows[(labels == c) & ((before == p) != (after == p))] = row
    return rows
