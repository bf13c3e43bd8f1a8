"""Where positions lie on the image, against the place that answers to a dot moved over black."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddeep.networks.layer import Layer
from ddeep.networks.places import Axis, Grid, cells, coordinates, grid_of

SIDE = 32


def ones(size: int, **how: int) -> nn.Conv2d:
    """A convolution of one channel that answers equally to all it sees."""
    made = nn.Conv2d(1, 1, size, bias=False, **how)
    nn.init.ones_(made.weight)
    return made


class Padded(nn.Module):
    """As TensorFlow pads: more at the right and below."""

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(images, [0, 1, 0, 1])


class Branches(nn.Module):
    """A block whose shortcut skips every other pixel, as ResNet20's does, gated by what it sees of all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ones(3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        gate = torch.sigmoid(images.mean((2, 3), keepdim=True))
        return gate * F.relu_(self.conv(images) + images[:, :, ::2, ::2])


class Tokens(nn.Module):
    """Patches as tokens, a class token before them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ones(4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], tokens], 1)


NETWORKS = {
    "strides": [ones(3, stride=2, padding=1), ones(3, stride=2, padding=1), ones(3, padding=1)],
    "pooling": [ones(7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)],
    "dilated": [ones(3, padding=2, dilation=2), ones(3, stride=2)],
    "padded": [Padded(), ones(3, stride=2), nn.MaxPool2d(2)],
    "branches": [Branches(), nn.BatchNorm2d(1), Branches()],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_position_answers_most_evenly_around_its_centre(name: str) -> None:
    """The pixels that a position answers to have their middle where its centre is said to lie."""
    module = nn.Sequential(*NETWORKS[name], nn.Identity()).eval()
    layer = Layer(str(len(NETWORKS[name])))
    grid = grid_of(module, layer, torch.zeros(1, 1, SIDE, SIDE))
    assert grid is not None
    output = module(torch.zeros(1, 1, SIDE, SIDE))
    assert (grid.down.length, grid.across.length) == tuple(output.shape[2:])
    dots = torch.eye(SIDE * SIDE).view(-1, 1, SIDE, SIDE)
    with torch.no_grad():
        seen = (module(dots)[:, 0] != output[:, 0]).view(SIDE, SIDE, *output.shape[2:])
    middle = grid.down.length // 2
    for axis, along in enumerate(grid):
        answers = seen[..., middle, grid.across.length // 2].any(1 - axis).nonzero()
        assert float(answers.double().mean()) == pytest.approx(along.start + along.step * middle)


def test_tokens_keep_the_places_of_their_patches() -> None:
    module = nn.Sequential(Tokens(), nn.LayerNorm(1))
    assert grid_of(module, Layer("1"), torch.zeros(1, 1, SIDE, SIDE)) == Grid(Axis(8, 4, 1.5), Axis(8, 4, 1.5))
    assert cells(8, 8, SIDE) == Grid(Axis(8, 4, 1.5), Axis(8, 4, 1.5))


def test_resized_maps_share_the_ground_of_the_old_ones() -> None:
    module = nn.Sequential(ones(3, stride=2, padding=1), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(8))
    found = [grid_of(module, Layer(str(at)), torch.zeros(1, 1, SIDE, SIDE)) for at in range(3)]
    assert [grid.down for grid in found if grid] == [Axis(16, 2, 0), Axis(32, 1, -0.5), Axis(8, 4, 1)]


def test_what_does_not_tell_is_none() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 9), nn.Unflatten(1, (1, 3, 3)))
    assert grid_of(module, Layer("2"), torch.zeros(1, 1, SIDE, SIDE)) is None


def test_coordinates_run_from_the_first_position_to_the_last() -> None:
    along = Axis(4, 8, 3)
    pixels = torch.tensor([0.0, 3, 7, 27, 31])
    assert coordinates(along, pixels).tolist() == [0, 0, 0.5, 3, 3]
