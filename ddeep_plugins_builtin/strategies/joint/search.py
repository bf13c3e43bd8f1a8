"""Look for the k filters of every class over which one head of all classes has the lowest loss."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from .fit import SparseHead, fit
from .objective import Objective
from .prune import prune
from .swaps import improve, promise

WIDEST = 16  # filters per class to start pruning from, or twice as many as asked for
LEAST_GAIN = 1e-3  # relative; below it another round of widening is not worth its fits
ROUNDS = 4


def widest(filters: int, k: int) -> int:
    """Filters per class that the search for ``k`` starts from."""
    return min(filters, max(WIDEST, 2 * k))


def search(objective: Objective, path: Int64[Tensor, "c p"], k: int) -> SparseHead:
    """The head of the lowest loss found, every class having ``k`` filters.

    ``path`` orders filters by least squares. Heads over its first k, its first 2k and more are pruned to k and improved
    by swaps. Then the best is widened to 2k, pruned back and improved again, while that helps.
    """
    widths = sorted({k, min(2 * k, objective.filters), widest(objective.filters, k)})
    starts = (prune(started(objective, path[:, :width]), k) for width in widths)
    best = min(map(improve, starts), key=lambda head: head.loss)
    for _ in range(ROUNDS):
        if 2 * k > objective.filters:
            break
        trial = improve(prune(widened(best, 2 * k), k))
        if trial.loss > best.loss * (1 - LEAST_GAIN):
            return min(trial, best, key=lambda head: head.loss)
        best = trial
    return best


def started(objective: Objective, filters: Int64[Tensor, "c m"]) -> SparseHead:
    """The head over ``filters``, fitted from one that predicts the classes' shares."""
    ones = torch.full_like(filters[:, :1], objective.filters)
    weight = torch.zeros(filters.shape, dtype=torch.float64, device=filters.device)
    bias = objective.moments[:, -1:].log()
    head = fit(objective, torch.cat([filters, ones], 1), torch.cat([weight, bias], 1))
    return fit(objective, head.support, head.weight)  # as closely as its loss asks for


def widened(head: SparseHead, width: int) -> SparseHead:
    """Every class with the filters that promise most beside its own, ``width`` in all, fitted."""
    more = promise(head).topk(width - head.width, dim=1).indices
    weight = torch.cat([head.weight.new_zeros(more.shape), head.weight], 1)
    return fit(head.objective, torch.cat([more, head.support], 1), weight)
