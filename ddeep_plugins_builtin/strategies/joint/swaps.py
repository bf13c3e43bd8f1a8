"""Swap filters of a class, one selected for one that is not, while that lowers the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .fit import SparseHead, fit
from .objective import Slopes

SCREENED = 16  # filters of a class whose gains are worked out, those of the largest gradient² / curvature
ROUNDS = 20
LEAST_GAIN = 1e-4  # relative; below it a round of swaps is not worth its fit


class Swaps(NamedTuple):
    """Of every class the best swap: what it gains, the place in its support, the filter that is to come there."""

    gain: Float[Tensor, " c"]
    place: Int64[Tensor, " c"]
    into: Int64[Tensor, " c"]


def improve(head: SparseHead, rounds: int = ROUNDS) -> SparseHead:
    """Swap while that lowers the loss: the quadratic model proposes for every class at once, a fit decides."""
    if head.width == head.objective.filters:
        return head
    for _ in range(rounds):
        best = best_swaps(head)
        order = best.gain.argsort(descending=True, stable=True)
        order = order[best.gain[order] > 0]
        while len(order) and best.gain[order].sum() > LEAST_GAIN * head.loss:
            trial = swapped(head, best, order)
            if trial.loss < head.loss * (1 - LEAST_GAIN):
                break
            order = order[: len(order) // 2]
        else:
            break
        head = trial
    return head


def swapped(head: SparseHead, swaps: Swaps, classes: Int64[Tensor, " s"]) -> SparseHead:
    """The head after the swaps of ``classes``, fitted."""
    support, weight = head.support.clone(), head.weight.clone()
    support[classes, swaps.place[classes]] = swaps.into[classes]
    weight[classes, swaps.place[classes]] = 0.0
    return fit(head.objective, support, weight)


def best_swaps(head: SparseHead) -> Swaps:
    """Of every class, among the filters that promise most."""
    slopes = head.objective.slopes(head.support, head.weight)
    into = screened(head, slopes)
    best, flat = gains_of(head, slopes, into).flatten(1).max(1)
    return Swaps(best, flat // into.shape[1], into.gather(1, flat[:, None] % into.shape[1])[:, 0])


def screened(head: SparseHead, slopes: Slopes) -> Int64[Tensor, "c o"]:
    """Of every class the filters that promise most, best first; none where it uses all."""
    return promise(head, slopes).topk(min(SCREENED, head.objective.filters - head.width), dim=1).indices


def gains_of(head: SparseHead, slopes: Slopes, into: Int64[Tensor, "c o"]) -> Float[Tensor, "c m o"]:
    """What swapping each filter of a class for each of ``into`` gains: see ``gains``."""
    objective, support = head.objective, head.support
    return gains(
        objective.own_blocks(support, slopes.spread),
        objective.blocks(support, into, slopes.spread),
        slopes.curvature.gather(1, into),
        slopes.gradient.gather(1, support),
        slopes.gradient.gather(1, into),
        head.weight,
    )


def promise(head: SparseHead, slopes: Slopes | None = None) -> Float[Tensor, "c k1"]:
    """Twice what every filter's weight alone could gain its class, gradient² / curvature; -∞ for those in use."""
    slopes = slopes or head.objective.slopes(head.support, head.weight)
    return (slopes.gradient.square() / slopes.curvature).scatter(1, head.support, -torch.inf)


def gains(
    own: Float[Tensor, "c m m"],
    across: Float[Tensor, "c m o"],
    curvature: Float[Tensor, "c o"],
    slope: Float[Tensor, "c m"],
    slope_into: Float[Tensor, "c o"],
    weight: Float[Tensor, "c m"],
) -> Float[Tensor, "c m o"]:
    """What taking out a weight in use (row) and taking in another (column) gains by a class's quadratic model.

    With H the class's block of the Hessian among the weights S in use (``own``), between those and others (``across``)
    and its diagonal there: taking i out costs w_i² / 2[H_SS⁻¹]_ii, the others adjusted; taking j in gains
    g̃_j² / 2s̃_j, gradient and curvature of j after the others have adjusted to both. The bias, last, stays.
    """
    inverse = torch.linalg.inv(own)
    spill = inverse @ across
    left = curvature - (across * spill).sum(1)
    steep = slope_into - (spill * slope[..., None]).sum(1)
    spare = inverse.diagonal(dim1=1, dim2=2)
    steeps = steep[:, None] - spill * (weight / spare)[..., None]
    curvatures = left[:, None] + spill.square() / spare[..., None]
    found = steeps.square() / curvatures.clamp(min=1e-12) / 2 - (weight.square() / spare / 2)[..., None]
    found[:, -1] = -torch.inf
    return found
