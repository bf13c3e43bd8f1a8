"""The images that excite each filter most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .batch import ResponseBatch
from .statistic import Statistic, accumulator


@dataclass(unsafe_hash=True)
class TopImages(Statistic):
    """The ``m`` images with the largest response of every filter, best first; equals by the smaller index.

    ``indices`` are positions in the dataset. Where there were fewer than ``m`` images, the last places hold index -1
    and response -inf. Images with a large *negative* response do not count: they silence a filter, or its opposite.
    """

    m: int
    indices: Int64[Tensor, "k m"] = accumulator()
    responses: Float[Tensor, "k m"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.indices = torch.full((filters, self.m), -1, dtype=torch.int64, device=device)
        self.responses = torch.full((filters, self.m), -torch.inf, dtype=torch.float32, device=device)

    def update(self, batch: ResponseBatch) -> None:
        by_index = batch.indices.argsort()
        responses = batch.responses[by_index].T.float()
        best = responses.argsort(dim=1, descending=True, stable=True)[:, : self.m]
        self._keep(batch.indices[by_index][best], responses.gather(1, best))

    def merge(self, other: Self) -> None:
        """Keep the best of both."""
        self._keep(other.indices.to(self.indices.device), other.responses.to(self.responses.device))

    def _keep(self, indices: Int64[Tensor, "k n"], responses: Float[Tensor, "k n"]) -> None:
        # Whatever the order of updates, the same images must be left: candidates are ordered by (response, index).
        indices = torch.cat([self.indices, indices], 1)
        responses = torch.cat([self.responses, responses], 1)
        by_index = indices.argsort(dim=1, stable=True)
        by_response = responses.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
        kept = by_index.gather(1, by_response[:, : self.m])
        self.indices, self.responses = indices.gather(1, kept), responses.gather(1, kept)
