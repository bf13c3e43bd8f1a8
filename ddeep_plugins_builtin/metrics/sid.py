"""Spatial diversity of a class's filters: do they look at different places?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import Context, ResponseBatch, Selection, SplitEvidence, Statistic, accumulator, exact_device

LEAST = 1e-5  # mean |activation| below which a map counts as that dark


def shares(maps: Float[Tensor, "n k p"]) -> Float[Tensor, "n k p"]:
    """Of every map, softmax over positions of m / max(LEAST, mean |m|): how much of it is where."""
    return (maps / maps.abs().mean(-1, keepdim=True).clamp(min=LEAST)).softmax(-1)


@dataclass(unsafe_hash=True)
class Diversity(Statistic):
    """By class, the sum over its images of (1/k) Σ_p max_j s_jp, j over the class's ``filters``; and its images."""

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({shares})
    filters: tuple[tuple[int, ...], ...]
    sums: Float[Tensor, " c"] = accumulator()
    images: Int64[Tensor, " c"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.sums = torch.zeros(classes, dtype=torch.float64, device=exact_device(device))
        self.images = torch.zeros(classes, dtype=torch.int64, device=exact_device(device))

    def update(self, batch: ResponseBatch) -> None:
        several = batch.looked[shares].shape[-1] > 1
        for c in batch.labels.unique().tolist() if several else ():
            own = batch.looked[shares][batch.labels == c][:, list(self.filters[c])]
            if own.shape[1]:
                self.sums[c] += (own.amax(1).double().sum() / own.shape[1]).to(self.sums.device)
                self.images[c] += len(own)


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> dict[str, Any]:
    """SID@k, scale-invariant diversity of the maps of each test image's own class's k filters; 1/k to 1.

    Mean over images, per class (None for classes without test images or filters) and overall; None where the layer has
    no positions. Norrenbrock et al., QPM, ICLR 2025 (arXiv 2502.20130): diversity@k of their SLDD-Model (arXiv
    2303.13166) with each map divided by its mean |activation| before the softmax. They take the filters of the
    predicted class, which a layer's maps do not know yet: here it is the true one. The maps are reduced inside the
    layer.
    """
    assert selection is not None
    return measure_all(evidence, [selection], context)[0]


def measure_all(evidence: SplitEvidence, selections: Sequence[Selection], context: Context) -> list[dict[str, Any]]:
    """Of every selection, all in one run."""
    found = {one.filters: Diversity(one.filters) for one in selections}
    context.gather_test(list(found.values()), evidence.train.classes)
    return [_figure(found[one.filters]) for one in selections]


def _figure(found: Diversity) -> dict[str, Any]:
    total, images = found.sums, found.images
    per_class = [t / n if n else None for t, n in zip(total.tolist(), images.tolist(), strict=True)]
    return {"mean": (total.sum() / images.sum()).item() if images.any() else None, "per_class": per_class}
