"""Spatial diversity of a class's filters: do they look at different places?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, Selection, SplitEvidence

LEAST = 1e-5  # mean |activation| below which a map counts as that dark


def diversity(maps: Float[Tensor, "n k p"]) -> Float[Tensor, " n"]:
    """(1/k) Σ_p max_j s_jp, s_j = softmax over positions of m_j / mean|m_j|: 1/k (one place) to 1 (k places)."""
    scaled = maps.double() / maps.double().abs().mean(-1, keepdim=True).clamp(min=LEAST)
    return scaled.softmax(-1).amax(1).sum(-1) / maps.shape[1]


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
    layer, run = context.needed_run()
    classes = evidence.train.classes
    wanted = [tuple(dict.fromkeys(tuple(one.filters[c]) for one in selections)) for c in range(classes)]
    totals: dict[tuple[int, tuple[int, ...]], float] = {}
    images = torch.zeros(classes, dtype=torch.int64)
    seen: list[tuple[dict[tuple[int, tuple[int, ...]], float], Tensor]] = []

    def look(output: Tensor, labels: Tensor, indices: Tensor) -> None:  # noqa: ARG001
        axis = layer.filter_axis(output)
        maps = output.movedim(axis, 1).reshape(len(output), output.shape[axis], -1).float().cpu()
        own, found = labels.cpu(), {}
        for c in own.unique().tolist() if maps.shape[2] > 1 else []:
            here = maps[own == c]
            found.update({(c, j): diversity(here[:, list(j)]).sum().item() for j in wanted[c] if j})
        seen[:] = [(found, own.bincount(minlength=classes))]

    for _ in run(look):
        found, counts = seen.pop()  # of the layer's last call
        images += counts
        for at, value in found.items():
            totals[at] = totals.get(at, 0.0) + value
    return [_figure(one, totals, images.tolist()) for one in selections]


def _figure(
    selection: Selection, totals: dict[tuple[int, tuple[int, ...]], float], images: list[int]
) -> dict[str, Any]:
    keys = [(c, tuple(filters)) for c, filters in enumerate(selection.filters)]
    per_class = [totals[at] / images[at[0]] if at in totals else None for at in keys]
    counted = sum(images[at[0]] for at in keys if at in totals)
    mean = sum(totals[at] for at in keys if at in totals) / counted if counted else None
    return {"mean": mean, "per_class": per_class}
