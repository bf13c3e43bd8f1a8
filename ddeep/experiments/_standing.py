"""Where each row of a comparison stands: against the best of its k and against the full network, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from ..heads.paired import LEVEL, compare_paired, holm

STANDING = (
    *("best_difference", "best_difference_interval", "best_p", "best_p_holm", "best_alike"),
    *("full_difference", "full_difference_interval", "full_p", "full_p_holm"),
)


def add_standing(
    rows: Sequence[dict[str, Any]], right: Bool[Tensor, "h n"], full: Bool[Tensor, " n"], seed: int
) -> None:
    """Add to ``rows`` of one k how each differs in accuracy from the best of them and from the full network.

    ``right[i]`` are the outcomes of row i that rows are ranked by. Holm's correction is over the rows, for either
    question by itself. ``best_alike`` says that a row cannot be told from the best (or is it).
    """
    counts = right.sum(1).tolist()
    best = max(range(len(rows)), key=lambda i: (counts[i], rows[i]["decomposed"]))
    for name, other, compared in (
        ("best", right[best], [i for i in range(len(rows)) if i != best]),
        ("full", full, list(range(len(rows)))),
    ):
        found = {i: compare_paired(right[i], other, seed=seed) for i in compared}
        corrected = dict(zip(found, holm([pair.p for pair in found.values()]), strict=True))
        for i, pair in found.items():
            rows[i][f"{name}_difference"] = pair.difference
            rows[i][f"{name}_difference_interval"] = [pair.low, pair.high]
            rows[i][f"{name}_p"], rows[i][f"{name}_p_holm"] = pair.p, corrected[i]
    for i, row in enumerate(rows):
        row["best_alike"] = i == best or row["best_p_holm"] > 1 - LEVEL
