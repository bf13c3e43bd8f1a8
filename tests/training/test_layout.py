"""Channels last, but for convolutions of which oneDNN would give wrong gradients."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddeep.training.batches import Shuffled
from ddeep.training.layout import mislearnt
from ddeep.training.loop import train
from ddeep.training.recipe import Recipe
from tests.support.small_training import PREPROCESSING, coloured

RECIPE = Recipe(epochs=1, lr=0.1, batch_size=64, schedule="constant", momentum=0.0, weight_decay=0.0, crop_padding=0)


class Block(nn.Module):
    """RepVGG's: a 3 × 3 and a 1 × 1 convolution of the same images, both with a stride."""

    def __init__(self, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, 32, 3, 2, 1, groups=groups)
        self.narrow = nn.Conv2d(channels, 32, 1, 2, groups=groups)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.wide(images) + self.narrow(images))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(3), Block(32, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))


def test_one_step_is_that_of_other_kernels() -> None:
    """Those of float64, which oneDNN has none for."""
    module, images = network(), coloured()
    reference = copy.deepcopy(module).double()
    train(module, images, PREPROCESSING, RECIPE)
    data = Shuffled(images, PREPROCESSING, RECIPE, 0, torch.device("cpu"))
    (((batch, labels),),) = list(data.epoch(0))
    F.cross_entropy(reference(batch.double()), labels).backward()  # type: ignore[no-untyped-call]
    for (name, learnt), parameter in zip(module.named_parameters(), reference.parameters(), strict=True):
        assert parameter.grad is not None
        expected = (parameter.detach() - 0.1 * parameter.grad).float()
        torch.testing.assert_close(learnt.detach(), expected, rtol=1e-4, atol=1e-6, msg=name)


def test_the_network_comes_out_as_it_was() -> None:
    module = network()
    train(module, coloured(), PREPROCESSING, RECIPE)
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_only_what_is_mislearnt_is_spared() -> None:
    convolutions = {
        "1 x 1, stride 2, 3 channels": nn.Conv2d(3, 8, 1, 2),
        "1 x 1, stride 2, 8 groups of 4": nn.Conv2d(32, 32, 1, (1, 2), groups=8),
        "1 x 1, stride 2, 16 channels": nn.Conv2d(16, 8, 1, 2),
        "1 x 1, stride 1": nn.Conv2d(3, 8, 1),
        "3 x 3, stride 2": nn.Conv2d(3, 8, 3, 2),
    }
    found = mislearnt(nn.Sequential(*convolutions.values()))
    assert found == list(convolutions.values())[:2]
