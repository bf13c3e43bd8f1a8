"""Fit the weights of a head whose support is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import minimise

from .objective import Objective, Support, Weights

ROUGH, EXACT = 1e-2, 1e-3  # the largest |gradient| left, as a share of a class's part of the images
MOST_STEPS = 100


@dataclass(frozen=True, eq=False)
class SparseHead:
    """A head at the objective's minimum over its support; the last row of each class is its bias."""

    objective: Objective
    support: Support
    weight: Weights
    loss: float

    @property
    def width(self) -> int:
        """Filters of every class."""
        return self.support.shape[1] - 1


@dataclass(frozen=True, eq=False)
class _Masked:
    """A support as the one problem that ``minimise`` is given."""

    objective: Objective
    support: Support

    def gradient(
        self,
        packed: Float[Tensor, "h c m"],
        which: Int64[Tensor, " h"],  # noqa: ARG002
    ) -> tuple[Float[Tensor, "h c m"], Float[Tensor, " h"]]:
        loss, gradient = self.objective.loss_and_gradient(self.support, packed[0])
        return gradient[None], gradient.new_tensor([loss])

    def curvature(self, packed: Float[Tensor, "h c m"], which: Int64[Tensor, " h"]) -> Tensor:  # noqa: ARG002
        _, shares = self.objective.loss_and_shares(self.support, packed[0])
        return torch.linalg.cholesky(self.objective.own_blocks(self.support, shares.mul_(1 - shares)))[None]


def fit(objective: Objective, support: Support, start: Weights, tolerance: float = ROUGH) -> SparseHead:
    """L-BFGS from ``start``, each class's own block of the Hessian in place of the whole.

    Where the loss is below 1, predictions and gradients are that much nearer to their targets, and so is the goal.
    """
    loss, _ = objective.loss_and_shares(support, start)
    goal = tolerance * min(1.0, loss) / objective.classes
    found = minimise(_Masked(objective, support), start[None], goal, MOST_STEPS)[0]
    return SparseHead(objective, support, found.packed, found.loss)
