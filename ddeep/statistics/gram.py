"""The Gram matrix of the responses: with the class sums, all that least squares needs of any number of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks.device import exact_device
from .batch import ResponseBatch
from .statistic import Statistic, accumulator


@dataclass(unsafe_hash=True)
class Gram(Statistic):
    """Σ_n r_ni·r_nj, filter by filter."""

    by_filter: ClassVar[bool] = True  # a matrix product wants many images at once
    memory: ClassVar[str] = "8*K*K"
    products: Float[Tensor, "k k"] = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.products = torch.zeros(filters, filters, dtype=torch.float64, device=exact_device(device))

    def update(self, batch: ResponseBatch) -> None:
        self.products.addmm_(batch.doubles.T, batch.doubles)
