"""The confusion matrix of many classes: the pairs that occur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from jaxtyping import Int64
from torch import Tensor

from .batch import ResponseBatch
from .statistic import Statistic, accumulator


@dataclass(unsafe_hash=True)
class ConfusionPairs(Statistic):
    """``Confusion`` as the pairs of true and predicted class that occur, c·C + p in ascending order, and their counts.

    At most as many as there are images, where C² numbers would not fit.
    """

    extras: ClassVar[frozenset[str | Callable[[Tensor], Tensor]]] = frozenset({"logits"})
    sized: ClassVar[bool] = False
    pairs: Int64[Tensor, " p"] = accumulator()
    counts: Int64[Tensor, " p"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self._classes = classes
        self.pairs, self.counts = (torch.zeros(0, dtype=torch.int64, device=device) for _ in range(2))

    def update(self, batch: ResponseBatch) -> None:
        assert batch.logits is not None
        pairs = batch.labels * self._classes + batch.logits.argmax(1)
        self._add(pairs, torch.ones_like(pairs))

    def merge(self, other: Self) -> None:
        self._add(other.pairs.to(self.pairs.device), other.counts.to(self.pairs.device))

    def _add(self, pairs: Int64[Tensor, " q"], counts: Int64[Tensor, " q"]) -> None:
        met, places = torch.unique(torch.cat([self.pairs, pairs]), return_inverse=True)
        self.counts = torch.zeros_like(met).index_add_(0, places, torch.cat([self.counts, counts]))
        self.pairs = met

    def table(self, classes: int) -> Int64[Tensor, "c c"]:
        """As a sparse table (coalesced COO), true class by predicted class."""
        places = torch.stack([self.pairs // classes, self.pairs % classes])
        return torch.sparse_coo_tensor(
            places, self.counts, (classes, classes), is_coalesced=True, check_invariants=False
        )
