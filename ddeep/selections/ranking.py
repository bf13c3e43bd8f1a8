"""The order of filters by their scores, ties included."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-12  # relative: scores this close are ties


def rank_filters(scores: Float[Tensor, "c k"], ties: Float[Tensor, "c k"] | None = None) -> Tensor:
    """Filters of each class from the best: by score, then by larger ``ties``, then by the smaller index.

    Scores that differ by no more than 1e-12 of the larger are equal: rounding must not decide.
    """
    scores = _levelled(scores.double().cpu())
    if ties is None:
        return scores.argsort(dim=1, descending=True, stable=True)
    by_tie = ties.double().cpu().argsort(dim=1, descending=True, stable=True)
    by_score = scores.gather(1, by_tie).argsort(dim=1, descending=True, stable=True)
    return by_tie.gather(1, by_score)


def _levelled(scores: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """The same order, with scores that are equal but for rounding made equal: 0 for the best, then −1, …"""
    ranked, order = scores.sort(dim=1, descending=True)
    apart = ranked[:, :-1] - ranked[:, 1:] > ROUNDING * torch.maximum(ranked[:, :-1].abs(), ranked[:, 1:].abs())
    levels = torch.zeros_like(scores)
    levels[:, 1:] = -apart.cumsum(1).double()
    return torch.empty_like(scores).scatter_(1, order, levels)
