"""Sets of classes that hold the true one as often as promised: split conformal prediction on a decomposed head.

A class's depth for an image says how many of the filters that speak most strongly for the predicted class, in their
order, it has as well (docs/mathematics.md, Prediction sets). A level admits the classes of at least that depth, and a
threshold those of them that are probable enough, or all of them and the most probable others. Both come from images
that nothing else has seen, the level from one half and the threshold from the other: the level knows nothing of the
half that the threshold is counted on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.head import Head
from ..selections.selection import Selection

CHUNK = 2**22  # entries (images, classes, filters of a class) at once


class Looks(NamedTuple):
    """What the head makes of images: probabilities, depths, the predicted classes and how many filters those have."""

    probabilities: Float[Tensor, "n c"]
    depths: Int64[Tensor, "n c"]
    predicted: Int64[Tensor, " n"]
    deepest: Int64[Tensor, " n"]

    def admitted(self, level: int) -> Bool[Tensor, "n c"]:
        """The classes that agree with the predicted one on its ``level`` strongest filters, or all it has."""
        return self.depths >= self.deepest.clamp(max=level)[:, None]


class Calibration(NamedTuple):
    """A level, a threshold, and from how many images each.

    ``threshold`` is the largest score of a class of a set; infinite where there were too few images.
    """

    level: int
    threshold: float
    images: tuple[int, int]


def look(responses: Float[Tensor, "n k"], head: Head, selection: Selection) -> Looks:
    """Probabilities by the softmax of the head's logits, and every class's depth, image by image."""
    classes, width = len(selection.filters), max(map(len, selection.filters))
    own = torch.zeros(classes, width, dtype=torch.int64)
    has = torch.zeros(classes, selection.num_filters, dtype=torch.bool)  # absent classes share nothing
    for c, filters in enumerate(selection.filters):
        own[c, : len(filters)] = torch.tensor(filters, dtype=torch.int64)
        has[c, list(filters)] = True
    sizes = torch.tensor([len(filters) for filters in selection.filters])
    parts = []
    for rows in torch.split(responses, max(1, CHUNK // (classes * width))):
        logits = F.linear(rows.double(), head.weight.double(), head.bias.double())
        predicted = logits.argmax(1)
        said = rows.double().gather(1, own[predicted]) * head.weight.double()[predicted].gather(1, own[predicted])
        used = torch.arange(width) < sizes[predicted][:, None]
        order = torch.where(used, said, -torch.inf).argsort(dim=1, descending=True, stable=True)
        strongest = own[predicted].gather(1, order)
        agree = has[:, strongest].movedim(0, 1) & used[:, None]  # (N, C, width); the order puts used ones first
        depths = agree.long().cumprod(2).sum(2)
        parts.append(Looks(logits.softmax(1), depths, predicted, sizes[predicted]))
    return Looks(*(torch.cat(column) for column in zip(*parts, strict=True)))


def strongest(responses: Float[Tensor, " k"], head: Head, filters: tuple[int, ...], c: int) -> list[tuple[int, float]]:
    """The ``filters`` of class ``c`` and what each adds to its logit, the largest first."""
    said = [(j, float(responses[j]) * float(head.weight[c, j])) for j in filters]
    return sorted(said, key=lambda pair: -pair[1])


def calibrate(looks: Looks, labels: Int64[Tensor, " n"], coverage: float, generator: torch.Generator) -> Calibration:
    """Level and threshold for sets that hold the true class with probability ``coverage`` at least.

    The images are parted at random. The level is the deepest that admits the true class of enough of the first half;
    the threshold the ⌈(n + 1)·coverage⌉-th smallest score of the true class among the n of the second. For images like
    these, exchangeable with them, coverage is then ``coverage`` at least, and 1/(n + 1) more at most where no scores
    are equal (Vovk, Gammerman & Shafer 2005).
    """
    order = torch.randperm(len(labels), generator=generator)
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    needed = rank(len(first), coverage)
    level = 0
    for n in range(1, int(looks.deepest.max()) + 1):
        if int(_true(looks.admitted(n), labels)[first].sum()) < needed:
            break
        level = n
    ordered = _true(scores(looks, level), labels)[second].sort().values
    at = rank(len(second), coverage)
    return Calibration(level, float(ordered[at - 1]) if at <= len(ordered) else math.inf, (len(first), len(second)))


def rank(images: int, coverage: float) -> int:
    """⌈(images + 1)·coverage⌉; what is whole but for rounding stays so."""
    return math.ceil((images + 1) * coverage - 1e-9)


def scores(looks: Looks, level: int) -> Float[Tensor, "n c"]:
    """1 - the probability of each class, and 1 more where the level does not admit it: those come last."""
    return 1 - looks.probabilities + (~looks.admitted(level)).double()


def sets(looks: Looks, found: Calibration) -> Bool[Tensor, "n c"]:
    """Which classes are in each image's set."""
    return scores(looks, found.level) <= found.threshold


def _true(table: Tensor, labels: Int64[Tensor, " n"]) -> Tensor:
    return table.gather(1, labels[:, None])[:, 0]
