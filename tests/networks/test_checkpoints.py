"""Checkpoints as people have them: one file of each kind, and the network that comes out is always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ddeep import console
from ddeep.data.images import TensorImages
from ddeep.errors import WeightsError
from ddeep.networks.network import Network, load_network
from ddeep.networks.weights import load_strictly, weights_hash
from ddeep.registry.registry import registry
from ddeep.registry.specs import ModelSpec

CLASSES = 4


class Net(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())  # named like a wrapper
        self.head = nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.model(x).mean((2, 3)))  # type: ignore[no-any-return]


def trained(factor: float = 1.0) -> Net:
    torch.manual_seed(0)
    net = Net(CLASSES)
    with torch.no_grad():
        net.head.weight.mul_(factor)
    return net


def prefixed(*prefixes: str) -> dict[str, Tensor]:
    return {"".join(prefixes) + name: tensor for name, tensor in trained().state_dict().items()}


def profiled() -> dict[str, Tensor]:
    """What thop leaves in every module."""
    counts = {f"model.0.{name}": torch.zeros(1) for name in ("total_ops", "total_params")}
    return {**trained().state_dict(), **counts, "total_ops": torch.zeros(1)}


STATE = trained().state_dict()
AVERAGE = trained(2.0).state_dict()

KINDS: dict[str, Any] = {
    "state dict": STATE,
    "DataParallel": nn.DataParallel(trained()).state_dict(),
    "torch.compile": prefixed("_orig_mod."),
    "compiled, then DataParallel": prefixed("module.", "_orig_mod."),
    "DataParallel, then compiled": prefixed("_orig_mod.", "module."),
    "Lightning": {"state_dict": prefixed("model."), "epoch": 3, "pytorch-lightning_version": "2.1"},
    "Lightning, compiled": {"state_dict": prefixed("model.", "_orig_mod."), "epoch": 3},
    "a wrapper called net": {"state_dict": prefixed("net.", "module."), "best": 91.7},
    "torchvision's references": {"model": STATE, "optimizer": {}, "epoch": 3},
    "kuangliu's CIFAR": {"net": nn.DataParallel(trained()).state_dict(), "acc": 95.1},
    "a dict of dicts": {"model": {"state_dict": STATE}},
    "moving average of torch": AveragedModel(trained()).state_dict(),
    "profiled": profiled(),
    "without batch counters": {n: t for n, t in STATE.items() if not n.endswith("num_batches_tracked")},
    "auxiliary head": {**STATE, "aux_head.weight": torch.ones(2, 2), "aux1.fc.bias": torch.ones(2)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint(kind: str, tmp_path: Path, load: Callable[..., Network]) -> None:
    torch.save(KINDS[kind], tmp_path / "x.pth")
    found = load(tmp_path / "x.pth")
    state = found.module.state_dict()
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    if kind != "without batch counters":
        assert found.weights_hash == weights_hash(STATE)  # the same weights, whatever the file


AVERAGED: dict[str, Any] = {
    "timm": {"state_dict": STATE, "state_dict_ema": AVERAGE},
    "torchvision": {"model": STATE, "model_ema": {f"module.{n}": t for n, t in AVERAGE.items()}},
    "counted": {"model": STATE, "ema": {"module": AVERAGE, "updates": 7}},
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_of_two_sets_of_weights_a_note_says_which_was_read(
    kind: str, tmp_path: Path, load: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(console, "note", notes.append)
    torch.save(AVERAGED[kind], tmp_path / "x.pth")
    for ema, expected in ((None, AVERAGE), (True, AVERAGE), (False, STATE)):
        state = load(tmp_path / "x.pth", ema=ema).module.state_dict()
        assert torch.equal(state["head.weight"], expected["head.weight"])
    (note,) = notes  # asked for, nothing need be said
    assert "the moving average of the weights; --no-ema reads" in note


def test_an_average_that_is_not_there(tmp_path: Path, load: Callable[..., Network]) -> None:
    torch.save({"model": STATE}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"holds no moving average of its weights. Leave out --ema"):
        load(tmp_path / "x.pth", ema=True)
    torch.save({"model_ema": AVERAGE}, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match=r"holds only their average, 'model_ema'. Leave out --no-ema"):
        load(tmp_path / "y.pth", ema=False)
    assert load(tmp_path / "y.pth").weights_hash == weights_hash(AVERAGE)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({**STATE, "extra.weight": torch.ones(2)}, "unexpected extra.weight"),
        ({n: t for n, t in STATE.items() if n != "head.bias"}, "missing head.bias"),
        ({**prefixed("module."), "head.bias": torch.ones(CLASSES)}, "unexpected module.model.0.weight"),
        ({**STATE, "head.total_ops_of_mine": torch.ones(1)}, "unexpected head.total_ops_of_mine"),
        ({**STATE, "auxiliary.weight": torch.ones(1)}, "unexpected auxiliary.weight"),
        ({n: t for n, t in prefixed("net.").items() if n != "net.head.bias"}, "missing model.0.weight"),
    ],
)
def test_what_does_not_fit_strictly_is_refused(state: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(WeightsError, match=problem):
        load_strictly(trained(), state)


# Architectures that are rewritten to have one linear head, and their own checkpoints.
LIBRARIES: dict[str, Callable[[], nn.Module]] = {
    "timm/resnetv2_18": lambda: timm.create_model("resnetv2_18", num_classes=CLASSES),
    "timm/deit_tiny_distilled_patch16_224": lambda: timm.create_model(
        "deit_tiny_distilled_patch16_224", num_classes=CLASSES
    ),
    "timm/efficientformer_l1": lambda: timm.create_model("efficientformer_l1", num_classes=CLASSES),
    "torchvision/googlenet": lambda: torchvision.models.googlenet(
        num_classes=CLASSES, aux_logits=True, init_weights=False, transform_input=True
    ),
    "torchvision/densenet121": lambda: torchvision.models.densenet121(num_classes=CLASSES),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_checkpoints_of_libraries_fit_their_rewritten_networks(
    name: str, tmp_path: Path, load: Callable[..., Network]
) -> None:
    torch.manual_seed(0)
    original = LIBRARIES[name]().eval()
    state = original.state_dict()
    if name == "torchvision/densenet121":  # as published in 2017
        state = {n.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): t for n, t in state.items()}
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "x.pth")
    network = load(tmp_path / "x.pth", spec=registry().find("model", name))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(network.module(images), original(images), rtol=1e-4, atol=1e-5)


@pytest.fixture
def load() -> Callable[..., Network]:
    images = TensorImages.of(
        torch.zeros(CLASSES, 8, 8, 3, dtype=torch.uint8), torch.arange(CLASSES), [f"c{c}" for c in range(CLASSES)]
    )

    def load(path: Path, spec: ModelSpec | None = None, **options: Any) -> Network:
        spec = spec or ModelSpec("net", build=Net)
        return load_network(
            spec,
            images,
            dataset="d",
            data_dir=path.parent,
            weights=str(path),
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            **options,
        )

    return load
