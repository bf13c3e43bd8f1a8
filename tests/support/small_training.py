"""A small network, images that it learns in a few steps, and a recipe for it."""

from __future__ import annotations

import torch
from torch import nn

from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.training.recipe import Recipe

PREPROCESSING = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 8, 8)
RECIPE = Recipe(epochs=3, lr=0.2, batch_size=16, crop_padding=1, weight_decay=1e-3, label_smoothing=0.05)


def network(seed: int = 0) -> nn.Sequential:
    """A small network with everything that carries state: convolutions, batch norm, dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 3),
    )


def coloured(count: int = 64) -> TensorImages:
    """Noise with a colour cast: class c has channel c brighter. Learnable in a few steps, crop and flip or not."""
    source = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 128, (count, 8, 8, 3), dtype=torch.uint8, generator=source)
    pixels[torch.arange(count), :, :, labels] += 100
    return TensorImages.of(pixels, labels, ["red", "green", "blue"])


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
