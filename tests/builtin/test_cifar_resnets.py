"""The CIFAR ResNets: published names, shapes, parameter counts, and the published accuracy where the data is."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddeep.registry.specs import resolve
from ddeep_plugins_builtin.models import ddeep_models
from tests.support.paths import ROOT

CHECKPOINT = ROOT / "data/weights/resnet20-12fca82f.th"
SPECS = {spec.name: spec for spec in ddeep_models() if spec.name.startswith("resnet") and spec.dataset != "imagenet"}


@pytest.mark.parametrize(
    ("name", "millions", "layer"),
    [
        ("resnet20", 0.27, "layer3.2"),
        ("resnet32", 0.46, "layer3.4"),
        ("resnet44", 0.66, "layer3.6"),
        ("resnet56", 0.85, "layer3.8"),
        ("resnet110", 1.7, "layer3.17"),
    ],
)
def test_sizes_are_those_of_he_et_al(name: str, millions: float, layer: str) -> None:
    spec = SPECS[name]
    model = resolve(spec.build)(10)
    trained = sum(p.numel() for p in model.parameters())
    assert trained / 1e6 == pytest.approx(millions, abs=0.05 if millions > 1 else 0.01)
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == int(name.removeprefix("resnet"))
    assert spec.layer == layer
    assert layer in dict(model.named_modules())


def test_module_names_are_those_of_the_papers_authors() -> None:
    names = dict(resolve(SPECS["resnet20"].build)(10).named_modules())
    assert {"relu", "layer2.1.relu1", "layer2.1.relu2", "layer3.2", "linear"} <= set(names)


def test_the_layer_feeds_the_head_through_its_mean_over_positions() -> None:
    model = resolve(SPECS["resnet20"].build)(7).eval()
    seen: dict[str, torch.Tensor] = {}
    model.layer3[2].register_forward_hook(lambda _m, _i, out: seen.__setitem__("layer", out))
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 7)
    assert seen["layer"].shape == (4, 64, 8, 8)
    assert (seen["layer"] >= 0).all()
    torch.testing.assert_close(model.linear(seen["layer"].mean((2, 3))), logits)


def test_the_padding_shortcut_adds_zeros_on_both_sides() -> None:
    x = torch.randn(2, 16, 8, 8)
    shortcut = resolve(SPECS["resnet20"].build)(10).layer2[0].shortcut
    expected = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    torch.testing.assert_close(shortcut(x), expected)


def test_listing_models_does_not_import_torch() -> None:
    code = (
        "import sys; from ddeep_plugins_builtin.models import ddeep_models; list(ddeep_models()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason=f"{CHECKPOINT.name} is not under data/weights")
def test_the_published_checkpoint_loads_strictly() -> None:
    state = torch.load(CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    model = resolve(SPECS["resnet20"].build)(10)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
