"""Orthogonal matching pursuit of all classes at once, from the Gram matrix alone."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

NEGLIGIBLE = 1e-9  # of a filter's own square: what is left of it is rounding


def matching_pursuit(gram: Float[Tensor, "k k"], targets: Float[Tensor, "c k"], count: int) -> Int64[Tensor, "c count"]:
    """For every class the filters that least squares takes in, one after the other, best first.

    ``gram`` is S = XXᵀ, ``targets`` q = Xy of every class. Each step takes the filter that lowers the squared error
    most, the weights of those before it adjusted: with r = q_j − S_jA S_AA⁻¹ q_A, the largest
    r_j² / (S_jj − S_jA S_AA⁻¹ S_Aj) (Pati, Rezaiifar & Krishnaprasad, 1993; Chen, Cowan & Grant's orthogonal least
    squares, 1991). The rows of the Cholesky factor of S, pivots first, are kept for each class, so a step costs
    C·K·(steps before it). Ties go to the smaller index. Filters that the ones before explain come last.
    """
    left, energy = targets.clone(), gram.diagonal().expand_as(targets).clone()
    least = NEGLIGIBLE * energy.clamp(min=torch.finfo(energy.dtype).tiny)
    everyone = torch.arange(len(targets), device=targets.device)
    rows = targets.new_zeros(len(targets), count, gram.shape[0])
    chosen = torch.zeros(len(targets), count, dtype=torch.int64, device=targets.device)
    taken = torch.zeros_like(targets, dtype=torch.bool)
    for step in range(count):
        gain = torch.where(energy > least, left.square() / energy.clamp(min=least), 0.0)
        best = gain.masked_fill(taken, -1.0).argmax(1)
        chosen[:, step], taken[everyone, best] = best, True
        pivot = energy[everyone, best]
        usable = pivot > least[everyone, best]
        scale = torch.where(usable, pivot.clamp(min=torch.finfo(pivot.dtype).tiny).rsqrt(), 0.0)
        before = rows[:, :step]
        known = torch.einsum("cs,csk->ck", before[everyone, :, best], before)
        row = (gram[best] - known) * scale[:, None]
        rows[:, step] = row
        left -= row * (left[everyone, best] * scale)[:, None]
        energy -= row.square()
    return chosen


def shared_pursuit(gram: Float[Tensor, "k k"], targets: Float[Tensor, "c k"], count: int) -> Int64[Tensor, " count"]:
    """As ``matching_pursuit``, but one set of filters for all classes: those that lower the sum of their errors most.

    Simultaneous orthogonal matching pursuit (Tropp, Gilbert & Strauss, Signal Processing 86, 2006), with least squares'
    gains. A step costs C·K + K·(steps before it).
    """
    left, energy = targets.clone(), gram.diagonal().clone()
    least = NEGLIGIBLE * energy.clamp(min=torch.finfo(energy.dtype).tiny)
    rows = targets.new_zeros(count, len(gram))
    taken = torch.zeros_like(energy, dtype=torch.bool)
    chosen = torch.zeros(count, dtype=torch.int64, device=gram.device)
    for step in range(count):
        gain = torch.where(energy > least, left.square().sum(0) / energy.clamp(min=least), 0.0)
        best = int(gain.masked_fill(taken, -1.0).argmax())
        chosen[step], taken[best] = best, True
        if energy[best] > least[best]:
            row = (gram[best] - rows[:step, best] @ rows[:step]) * energy[best].rsqrt()
            rows[step] = row
            left -= torch.outer(left[:, best] * energy[best].rsqrt(), row)
            energy -= row.square()
    return chosen
