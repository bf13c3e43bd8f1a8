"""The checks of models can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddeep.registry.specs import ModelFamily, ModelSpec, WeightsSpec, resolve
from tests.contract.broken import broken


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.drop = nn.Dropout()
        self.head = nn.Linear(5, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.drop(self.features(x)))


class OfTheBatch(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) - super().features(x).mean(0)


class Noisy(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + torch.randn(5)


class Counting(Net):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("calls", torch.zeros(()))

    def features(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().features(x)


class Auxiliary(Net):
    def forward(self, x: Tensor) -> Any:
        return (super().forward(x)[:, 1:], x) if self.training else super().forward(x)


class Detached(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).log_softmax(1) * 0


class Largest(Net):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x).amax((2, 3)))


class Twice(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.flip(2)) * 0 + super().forward(x)


def net_weights(**changes: Any) -> WeightsSpec:
    given = {"state": lambda: Net(3).state_dict(), "num_classes": 3, "size": 12, "dataset": "digits"} | changes
    return WeightsSpec("w", mean=(0.5,) * 3, std=(0.5,) * 3, **given)


GOOD_MODEL = ModelSpec(
    "good", build=Net, head="head", layer="body", weights=(net_weights(),), summary="a net", source="here"
)


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"build": lambda _: Net(10)}, "it gives logits (N, C)", "number of classes"),
        ({"build": lambda _: "net"}, "it gives logits (N, C)", "nn.Module"),
        ({"build": OfTheBatch}, "each image is judged by itself", "training mode only"),
        ({"build": Noisy}, "a pass changes nothing and can be repeated", "no noise"),
        ({"build": Counting}, "a pass changes nothing and can be repeated", "calls"),
        ({"build": Auxiliary}, "it trains", "return the logits (N, C) first"),
        ({"build": Detached}, "it trains", "gradients"),
        ({"layer": "body.1"}, "its layer, pooled, feeds its head", "pooled output"),
        ({"head": "body.0"}, "its layer, pooled, feeds its head", "nn.Linear"),
        ({"build": Largest}, "its layer, pooled, feeds its head", "pooled output"),
        ({"build": Twice, "layer": None}, "its layer, pooled, feeds its head", "name them"),
        ({"dataset": "cifar11"}, "its weights are described", "name one of"),
        ({"weights": (net_weights(state=None),)}, "its weights are described", "file, url"),
        ({"weights": (net_weights(state=None, url="http://a/b.pt"),)}, "its weights are described", "https"),
        ({"weights": (net_weights(resize=8),)}, "its weights are described", "cannot be cropped"),
    ],
)
def test_broken_models(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("models", replace(GOOD_MODEL, **change), tmp_path, promise)[promise]


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    torch.save(Net(4).state_dict(), tmp_path / "four.pt")
    (tmp_path / "weights").mkdir()
    (tmp_path / "four.pt").rename(tmp_path / "weights" / "four.pt")
    weights = net_weights(state=None, filename="four.pt")
    assert "unfit" in broken("models", replace(GOOD_MODEL, weights=(weights,)), tmp_path)["its weights load"]
    fitting = replace(weights, num_classes=4)
    assert broken("models", replace(GOOD_MODEL, weights=(fitting,)), tmp_path) == {}


def test_broken_families(tmp_path: Path) -> None:
    good = ModelFamily("timm", names=lambda: ["a"], resolve=lambda _name: GOOD_MODEL, summary="many", source="here")
    found = broken("models", good, tmp_path)
    assert "raise LookupError" in found["unknown names are refused"]
    twice = replace(
        good, names=lambda: ["resnet18", "resnet18"], resolve=resolve("builtins:dict").fromkeys([]).__getitem__
    )
    assert list(broken("models", twice, tmp_path)) == ["its names resolve"]


def test_a_good_one_breaks_no_promise(tmp_path: Path) -> None:
    assert broken("models", GOOD_MODEL, tmp_path) == {}
