"""What one batch costs: cross-entropy and regularizer, in one module that accelerate can wrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TrainingError
from ..networks.hooks import TrainingHooks
from ..networks.logits import read_logits
from .regularizers import Regularizer

Teacher = Callable[[Tensor], Float[Tensor, "n c"]]  # the logits that a network is to give

# The figures a batch adds to: Σ loss (without penalty), Σ penalty, correct images, images.
FIGURES = 4


class Objective(nn.Module):
    """Loss of ``module`` on a batch. Wrapped as a whole, so that nothing is ever patched into the module itself.

    It is the cross-entropy or, where there is a ``teacher``, the mean squared difference from its logits, both less
    their mean over the classes, which no softmax sees (Ba & Caruana, Do deep nets really need to be deep?, NeurIPS
    2014, equation 1).

    A regularizer's term is a child where it is an ``nn.Module``: its parameters are trained along. A context manager:
    the regularizer's hooks are gone when it ends.
    """

    def __init__(
        self,
        module: nn.Module,
        label_smoothing: float = 0.0,
        regularizer: Regularizer | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self._teacher = None if teacher is None else (teacher,)  # no child: it is not trained
        self.module = module
        self.label_smoothing = label_smoothing
        self.term: Any = regularizer.term if regularizer else None
        self._responses = TrainingHooks(module, regularizer.layers if regularizer else ())

    def __enter__(self) -> Objective:
        self._responses.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._responses.__exit__()

    def forward(
        self, images: Float[Tensor, "n c h w"], labels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 4"]]:
        """The loss to minimise, and the figures of this batch to add up."""
        logits = read_logits(self.module(images))
        if torch.is_grad_enabled() and not logits.requires_grad:
            raise TrainingError(
                f"The logits of {type(self.module).__name__} have no gradient: its forward pass cuts it "
                "(torch.no_grad, detach), or all its parameters are frozen. Nothing can be trained through it."
            )
        with torch.autocast(images.device.type, enabled=False):
            logits = logits.float()
            loss = self._loss(images, logits, labels)
            penalty = torch.zeros_like(loss) if self.term is None else self.term(self._responses.latest, labels)
        count = len(labels)
        correct = (logits.argmax(1) == labels).sum()
        summed = [loss.detach() * count, penalty.detach() * count, correct, torch.full_like(loss.detach(), count)]
        return loss + penalty, torch.stack(summed)

    def _loss(self, images: Tensor, logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        if self._teacher is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        with torch.no_grad():
            wanted = self._teacher[0](images).float()
        return F.mse_loss(logits - logits.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True))
