"""A small network, and images for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ddeep.data.batches import Batch

CLASSES, FILTERS, SIDE = 4, 6, 8


class Toy(nn.Module):
    """conv, norm, relu, then the mean over positions into a linear head: ``relu`` feeds ``head``."""

    def __init__(self, classes: int = CLASSES, filters: int = FILTERS, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, filters, 3, padding=1)
        self.norm = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU()
        self.head = nn.Linear(filters, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.norm(self.conv(x))).mean((2, 3)))
        return logits


def toy(seed: int = 0, **settings: int) -> Toy:
    """A toy with fixed random weights, in eval mode."""
    torch.manual_seed(seed)
    made = Toy(**settings)  # type: ignore[arg-type]
    with torch.no_grad():
        made.norm.running_mean.normal_()  # type: ignore[union-attr]
        made.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return made.eval()


def pictures(count: int, classes: int = CLASSES, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random images (N, 3, 8, 8) and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return images, torch.randint(0, classes, (count,), generator=generator)


def loader(count: int = 40, seed: int = 1, *, batch_size: int = 7, **settings: Any) -> DataLoader[Any]:
    """Those images and labels in batches, as PyTorch's loader gives them."""
    return DataLoader(TensorDataset(*pictures(count, seed=seed)), batch_size=batch_size, **settings)


def batched(images: Tensor, labels: Tensor, size: int) -> list[Batch]:
    """The images in batches of ``size``."""
    indices = torch.arange(len(labels))
    return [
        Batch(images[i : i + size], labels[i : i + size], indices[i : i + size]) for i in range(0, len(images), size)
    ]


def pooled(module: Toy, images: Tensor) -> Tensor:
    """Responses of ``relu``, the plain way."""
    with torch.no_grad():
        return module.relu(module.norm(module.conv(images))).mean((2, 3))  # type: ignore[no-any-return]
