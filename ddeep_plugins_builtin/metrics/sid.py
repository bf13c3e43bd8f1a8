"""Spatial diversity of a class's filters: do they look at different places?"""

from __future__ import annotations

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

    Mean over images, per class (None for classes without test images or filters) and overall. Norrenbrock et al., QPM,
    ICLR 2025 (arXiv 2502.20130): diversity@k of their SLDD-Model (arXiv 2303.13166) with each map divided by its mean
    |activation| before the softmax. They take the filters of the predicted class, which a layer's maps do not know yet:
    here it is the true one. The maps are reduced inside the layer.
    """
    assert selection is not None
    layer, run = context.needed_run()
    classes = evidence.train.classes
    total, images = torch.zeros(classes, dtype=torch.float64), torch.zeros(classes, dtype=torch.int64)
    seen: list[list[tuple[int, float, int]]] = []

    def look(output: Tensor, labels: Tensor, indices: Tensor) -> None:  # noqa: ARG001
        axis = layer.filter_axis(output)
        maps = output.movedim(axis, 1).reshape(len(output), output.shape[axis], -1).float().cpu()
        own = labels.cpu()
        chosen = [(c, list(selection.filters[c])) for c in own.unique().tolist() if selection.filters[c]]
        seen[:] = [[(c, diversity(maps[own == c][:, j]).sum().item(), int((own == c).sum())) for c, j in chosen]]

    for _ in run(look):
        for c, sum_of_class, count in seen.pop():  # of the layer's last call
            total[c] += sum_of_class
            images[c] += count
    per_class = [t / n if n else None for t, n in zip(total.tolist(), images.tolist(), strict=True)]
    return {"mean": (total.sum() / images.sum()).item() if images.any() else None, "per_class": per_class}
