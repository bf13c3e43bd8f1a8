"""The switch: a sample of test images with their responses, and the heads that make logits of them.

At the head logits are W·r + b exactly, so a page that holds responses and heads can compute what any set of filters
gives, with no network at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.head import Head
from ..statistics.basic import ClassSums
from .findings import Findings, Measured
from .mistakes import listed
from .packing import packed
from .proof import right_at

MOST, FEWEST = 240, 40  # images of the sample
NUMBERS = 200_000  # responses of the sample, 4 bytes each
ENTRIES = 700_000  # weights of a head, likewise


@dataclass(frozen=True)
class Sample:
    """Test images, by number, and how many of the split each stands for.

    ``responses`` are those of the network as it came, ``tuned`` those of the fine-tuned network.
    """

    indices: Int64[Tensor, " s"]
    weights: Float[Tensor, " s"]
    responses: Float[Tensor, "s k"]
    tuned: Float[Tensor, "s k"] | None = None


def sample(found: Findings, measured: Measured) -> Sample | None:
    """As many images as a page can hold; None where there is no head.

    A sixth at the most show the mistakes that changed most, each of those in turn. Half of all, as far as there are so
    many, are classified wrongly by the full network or at the last stage, those first on which the two differ; the
    others rightly. Of each kind every class has the same share, its images spread evenly over the split. Kinds are
    weighed each by itself, so that none counts for more than it is.
    """
    if "full" not in measured.predictions:
        return None
    responses, labels = measured.test.cached_responses()
    most = max(FEWEST, min(MOST, NUMBERS // responses.shape[1]))
    last = found.final if found.final in measured.predictions else "full"
    before, after = right_at(measured, "full"), right_at(measured, last)
    strata = 2 * before.long() + after.long()  # 0: wrong before and after; 3: right before and after
    shown = listed(measured, last)
    first = _spread((shown >= 0).nonzero()[:, 0], shown, most // 6)
    strata[(shown >= 0) & torch.isin(strata, strata[first])] += 4  # 4 to 6: those that show a change
    groups = [(strata == stratum).nonzero()[:, 0] for stratum in range(4)]
    rest, room = most - len(first), most // 2 - len(first)
    counts = [min(len(groups[1]), room // 3), min(len(groups[2]), room // 2)]
    wrong = min(len(groups[0]), max(room, rest - len(groups[3])) - sum(counts))
    taking = (wrong, *counts, rest - wrong - sum(counts))
    parts = [_spread(group, labels, count) for group, count in zip(groups, taking, strict=True)]
    chosen = torch.cat([first, *parts]).sort().values
    sizes, taken = strata.bincount(minlength=7), strata[chosen].bincount(minlength=7)
    weights = (sizes / taken.clamp(min=1))[strata[chosen]]
    tuned = None if measured.tuned is None else measured.tuned.cached_responses()[0][chosen].float()
    return Sample(chosen, weights, responses[chosen].float(), tuned)


def _spread(rows: Int64[Tensor, " r"], labels: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " m"]:
    """At most ``count`` of ``rows``: each class's in turn, spread over those it has."""
    if len(rows) <= count:
        return rows
    by_class = [rows[labels[rows] == c] for c in sorted(set(labels[rows].tolist()))]
    turns: list[tuple[int, int, int]] = []
    for c, mine in enumerate(by_class):
        share = min(len(mine), -(-count // len(by_class)) + 1)
        places = torch.linspace(0, len(mine) - 1, share).round().long().tolist()
        turns += [(turn, c, int(mine[place])) for turn, place in enumerate(places)]
    chosen = [row for _, _, row in sorted(turns)[:count]]
    known = set(chosen)
    rest = [row for row in rows.tolist() if row not in known][: count - len(chosen)]
    return torch.tensor(sorted([*chosen, *rest]), dtype=torch.int64)


def switch_document(found: Findings, measured: Measured, chosen: Sample) -> dict[str, Any]:
    """The sample and the heads for the page's script."""
    mask = found.selection.mask()
    heads = {}
    for stage in found.stages:
        head = measured.heads.get(stage)
        packed_head = None if head is None else head_document(head, None if stage == "full" else mask)
        if packed_head is not None:
            heads[stage] = packed_head
    responses = {"base": packed(chosen.responses, "f4")}
    if chosen.tuned is not None:
        responses["tuned"] = packed(chosen.tuned, "f4")
    labels = measured.labels
    return {
        "indices": chosen.indices.tolist(),
        "labels": labels[chosen.indices].tolist(),
        "weights": packed(chosen.weights, "f4"),
        "responses": responses,
        "heads": heads,
        "typical": typical(found, measured),
        "images": len(labels),
    }


def head_document(head: Head, mask: Bool[Tensor, "c k"] | None) -> dict[str, Any] | None:
    """A head's weights, row after row, with the filters they are for (all, without ``mask``).

    None for more than a page can hold.
    """
    if (int(mask.sum()) if mask is not None else head.weight.numel()) > ENTRIES:
        return None
    if mask is None:
        return {"weights": packed(head.weight, "f4"), "bias": packed(head.bias, "f4")}
    rows = [row.nonzero()[:, 0] for row in mask]
    counts = [len(row) for row in rows]
    return {
        "counts": packed(torch.tensor(counts), "u4"),
        "filters": packed(torch.cat(rows), "u2"),
        "weights": packed(torch.cat([head.weight[c, row] for c, row in enumerate(rows)]), "f4"),
        "bias": packed(head.bias, "f4"),
    }


def typical(found: Findings, measured: Measured) -> list[list[float | None]]:
    """For every class the mean response of each of its filters to the class's own test images, in the run's network."""
    rows: Sequence[Sequence[int]] = found.selection.filters
    means = (
        measured.means if measured.tuned is None else measured.tuned[ClassSums()].sums / measured.class_counts[:, None]
    )
    return [
        [None if bool(torch.isnan(value)) else float(value) for value in means[c, list(chosen)]]
        for c, chosen in enumerate(rows)
    ]
