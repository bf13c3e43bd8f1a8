"""What the joint selection minimises: the loss of a linear head with few weights in every class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

BIAS_PENALTY = 1e-6  # only differences between biases matter: a trace of a penalty settles the rest
IMAGES = 4096  # images at once, where a table of all filters is made of them
GATHERED = 2**27  # bytes of gathered columns at once

Support: TypeAlias = Int64[Tensor, "c m"]
Weights: TypeAlias = Float[Tensor, "c m"]


class Slopes(NamedTuple):
    """p(1 − p) of every class and image; the loss's gradient and curvature by all weights, in use or not."""

    spread: Float[Tensor, "c n"]
    gradient: Float[Tensor, "c k1"]
    curvature: Float[Tensor, "c k1"]


@dataclass(frozen=True, eq=False)
class Objective:
    """Mean cross-entropy of a head's predictions to targets, plus penalty·Σw² / 2.

    ``columns`` are the inputs of all N images, filter by filter, then a row of ones; ``moments`` Σ_n t_nc·x_nj / N, all
    that is needed of the targets t: they enter linearly. A head is a support, the rows of ``columns`` that each class
    uses, the last of them always the ones, and a weight for each. Sums over images are in float32, all else in float64.
    """

    columns: Float[Tensor, "k1 n"]
    moments: Float[Tensor, "c k1"]
    penalty: float

    @property
    def classes(self) -> int:
        return len(self.moments)

    @property
    def filters(self) -> int:
        return len(self.columns) - 1

    @property
    def images(self) -> int:
        return self.columns.shape[1]

    @cached_property
    def penalties(self) -> Float[Tensor, " k1"]:
        """Of every row of ``columns``."""
        found = torch.full((self.filters + 1,), self.penalty, dtype=torch.float64, device=self.columns.device)
        found[-1] = BIAS_PENALTY
        return found

    def logits(self, support: Support, weight: Weights) -> Float[Tensor, "c n"]:
        """What the head gives every image."""
        return F.embedding_bag(support, self.columns, per_sample_weights=weight.float(), mode="sum")

    def loss_and_shares(self, support: Support, weight: Weights) -> tuple[float, Float[Tensor, "c n"]]:
        """The loss, and the probabilities that the head predicts."""
        logits = self.logits(support, weight)
        return self._loss(support, weight, logits)

    def loss_and_gradient(self, support: Support, weight: Weights) -> tuple[float, Weights]:
        """The loss, and its gradient by the weights in use."""
        leaf = weight.float().requires_grad_()
        with torch.enable_grad():
            logits = F.embedding_bag(support, self.columns, per_sample_weights=leaf, mode="sum")
        loss, shares = self._loss(support, weight, logits.detach())
        (sums,) = torch.autograd.grad(logits, leaf, shares)
        gradient = sums.double() / self.images - self.moments.gather(1, support)
        return loss, gradient + self.penalties[support] * weight

    def _loss(self, support: Support, weight: Weights, logits: Tensor) -> tuple[float, Float[Tensor, "c n"]]:
        shares = F.log_softmax(logits, dim=0)
        loss = (logits[0] - shares[0]).sum(dtype=torch.float64).item() / self.images
        loss -= (weight * self.moments.gather(1, support)).sum().item()
        return loss + (self.penalties[support] * weight.square()).sum().item() / 2, shares.exp_()

    def slopes(self, support: Support, weight: Weights) -> Slopes:
        """Of the whole table (C, K + 1), a matrix product each."""
        _, shares = self.loss_and_shares(support, weight)
        gradient = (shares @ self.columns.T).double() / self.images - self.moments
        gradient.scatter_add_(1, support, self.penalties[support] * weight)
        spread = shares.mul_(1 - shares)
        curvature = torch.zeros_like(gradient)
        for columns, part in zip(self.columns.split(IMAGES, 1), spread.split(IMAGES, 1), strict=True):
            curvature += part @ columns.square().T
        return Slopes(spread, gradient, curvature / self.images + self.penalties)

    def blocks(
        self, support: Support, others: Int64[Tensor, "c o"], spread: Float[Tensor, "c n"]
    ) -> Float[Tensor, "c m o"]:
        """Every class's Σ_n p(1 − p)·x_i·x_j / N, between its ``support`` and ``others``, without the penalty."""
        found = []
        most = max(1, GATHERED // (4 * self.images * max(support.shape[1], others.shape[1])))
        for mine, theirs, part in zip(support.split(most), others.split(most), spread.split(most), strict=True):
            found.append((self.columns[mine] * part[:, None]) @ self.columns[theirs].mT)
        return torch.cat(found).double() / self.images

    def own_blocks(self, support: Support, spread: Float[Tensor, "c n"]) -> Float[Tensor, "c m m"]:
        """Every class's own block of the Hessian."""
        return self.blocks(support, support, spread) + torch.diag_embed(self.penalties[support])
