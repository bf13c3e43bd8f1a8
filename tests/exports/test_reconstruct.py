"""Layers that lost inputs give their old outputs again, where what is left knows them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ddeep.exports.cut import cut_network, kept_channels
from ddeep.exports.plan import CutPlan, readers
from ddeep.exports.reconstruct import reconstruct

from .test_cut import network


class Twins(nn.Module):
    """Filters 1 and 2 of ``first`` are the same; so a reader can do without one of them."""

    def __init__(self, reader: nn.Module) -> None:
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.second = reader
        self.head = nn.Linear(5, 4)
        with torch.no_grad():
            self.first.weight[2], self.first.bias[2] = self.first.weight[1], self.first.bias[1]  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        if isinstance(self.second, nn.Linear):
            x = self.second(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            x = self.second(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


READERS: dict[str, Callable[[], nn.Module]] = {
    "a strided convolution": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
    "a dilated one without bias": lambda: nn.Conv2d(6, 5, (3, 1), dilation=2, bias=False),
    "a linear layer": lambda: nn.Linear(6, 5),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_twin_stands_in_for_the_filter_that_went(kind: str) -> None:
    torch.manual_seed(0)
    module = Twins(READERS[kind]()).eval()
    images = [torch.randn(32, 3, 8, 8) for _ in range(4)]
    plan = CutPlan("head", (0, 1, 2, 3), tuple(range(5)), {"relu": (2,)})
    small = cut_network(module, plan, images[0])
    layers = readers(module, ["relu"], images[0])
    assert layers == ("second",)
    fresh = torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        before = (small(fresh) - module(fresh)).norm()
        reconstruct(module, small, kept_channels(module, plan, images[0]), layers, images)
        after = (small(fresh) - module(fresh)).norm()
    assert after < before / 5


def test_a_deep_network_comes_nearer_to_what_it_was() -> None:
    """Later layers make up for earlier ones: the stream at the end is nearer than without any refitting."""
    module, head, example = network("resnet20")
    draw = torch.Generator().manual_seed(1)
    images = [torch.randn(16, 3, 32, 32, generator=draw) for _ in range(4)]
    zeroed = {f"layer{stage}.{block}.relu1": tuple(range(4 * 2**stage)) for stage in (1, 2, 3) for block in (0, 1, 2)}
    plan = CutPlan(head, (0, 1), CutPlan.exact(module, head, (0, 1)).inputs, zeroed)
    small = cut_network(module, plan, example)
    layers = readers(module, zeroed, example)
    assert layers == tuple(f"layer{stage}.{block}.conv2" for stage in (1, 2, 3) for block in (0, 1, 2))
    fresh = torch.randn(16, 3, 32, 32, generator=draw)
    with torch.no_grad():
        wanted = module(fresh)[:, :2]
        before = (small(fresh) - wanted).norm()
        reconstruct(module, small, kept_channels(module, plan, example), layers, images)
        assert (small(fresh) - wanted).norm() < 0.7 * before
