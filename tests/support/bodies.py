"""A network as people write it, in which no submodule gives what is pooled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from tests.support import toys
from tests.support.toys import CLASSES

WIDTH = 6


class Body(nn.Module):
    """Two convolutions of which no submodule gives the maps that are pooled: the ReLUs are functions."""

    def __init__(self, features: int = WIDTH) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.fc = nn.Linear(features, CLASSES)

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.second(torch.relu(self.first(x))))

    def features(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.features(x))


def made(kind: type[nn.Module]) -> Any:
    torch.manual_seed(0)
    return kind().eval()


def loader(count: int = 80, seed: int = 1) -> DataLoader[Any]:
    """Toy images and labels, sixteen at a time."""
    return toys.loader(count, seed, batch_size=16)
