"""The maps behind a head's input are found by the pooling that makes them the input, whatever the code calls it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddeep.networks.behind import find_behind
from ddeep.networks.layer import Layer
from ddeep.reports.tiles import activation_maps
from tests.reports.test_tiles import CPU

POOLED = {
    "maximum": lambda maps: maps.amax((2, 3)),
    "mean after a ReLU": lambda maps: torch.relu(maps).mean((2, 3)),
    "maximum after a ReLU": lambda maps: F.adaptive_max_pool2d(maps.relu(), 1).flatten(1),
    "half of mean and maximum": lambda maps: 0.5 * (maps.mean((2, 3)) + maps.amax((2, 3))),
    "sum": lambda maps: maps.flatten(2).sum(2),
    "sum after a ReLU": lambda maps: F.relu(maps).flatten(2).sum(2),
}
UNNAMED = {
    "attention": lambda maps: (maps.flatten(2) * maps.sum(1).flatten(1).softmax(-1)[:, None]).sum(2),
    "a hidden function": lambda maps: maps.mean((2, 3)).tanh(),
    "part of the filters": lambda maps: maps.amax((2, 3))[:, [1, 0, 2, 3, 4, 5, 6, 7]],
}


class Net(nn.Module):
    def __init__(self, pool: object) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 4)
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.second(torch.relu(self.first(images)))))  # type: ignore[no-any-return, operator]


IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", POOLED)
def test_poolings_that_have_a_name(name: str) -> None:
    found = find_behind(Net(POOLED[name]).eval(), Layer("fc:input"), IMAGES)
    assert found is not None
    assert (found.layer, found.pooling) == (Layer("second"), name)


@pytest.mark.parametrize("name", UNNAMED)
def test_what_has_no_name_has_no_maps(name: str) -> None:
    module = Net(UNNAMED[name]).eval()
    assert find_behind(module, Layer("fc:input"), IMAGES) is None
    assert activation_maps(module, Layer("fc:input"), IMAGES, [0], CPU) is None


def test_an_input_shows_the_maps_it_pools() -> None:
    module = Net(POOLED["maximum"]).eval()
    maps = activation_maps(module, Layer("fc:input"), IMAGES, [5, 2], CPU)
    own = activation_maps(module, Layer("second"), IMAGES, [5, 2], CPU)
    assert maps is not None
    assert own is not None
    assert torch.equal(maps.values, own.values)
    assert (maps.grid, maps.side) == (own.grid, own.side)
    assert maps.behind is not None
    assert own.behind is None
    with torch.no_grad():
        assert torch.allclose(maps.of(1, 5).amax(), module.second(torch.relu(module.first(IMAGES)))[1, 5].amax())
