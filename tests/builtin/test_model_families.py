"""timm and torchvision: names, preprocessing and weights of their architectures, and what happens without a network."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import torchvision
from timm.data import resolve_data_config
from timm.data.transforms_factory import create_transform

from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import PluginError, WeightsError
from ddeep.networks.weights import load_strictly, load_weights
from ddeep.registry.registry import registry
from ddeep.registry.specs import ModelSpec, resolve
from ddeep_plugins_builtin.models import timm_models, torchvision_models


def find(name: str) -> ModelSpec:
    return registry().find("model", name)


def test_listing_families_imports_neither_library() -> None:
    code = (
        "import sys; from ddeep.registry.registry import registry; assert 'timm' in registry().models;"
        "sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_the_libraries_own() -> None:
    assert {"resnet50", "vit_tiny_patch16_224", "convnext_tiny"} <= set(timm_models.names())
    assert {"resnet50", "vit_b_16", "swin_t"} <= set(torchvision_models.names())
    assert not any(part in name for name in torchvision_models.names() for part in ("rcnn", "fcn", "quantized"))


@pytest.mark.parametrize("name", ["timm/resnt50", "timm/resnet50.nobody", "torchvision/resnt50"])
def test_unknown_names_suggest_near_ones(name: str) -> None:
    with pytest.raises(PluginError, match=r"No model is called .* See them all with: ddeep list models '\w+/\*'"):
        find(name)


@pytest.mark.parametrize(
    "name", ["resnet50.a1_in1k", "vit_base_patch16_224.augreg_in1k", "efficientnet_b0.ra_in1k", "vgg11.tv_in1k"]
)
def test_timm_preprocessing_is_that_of_the_weights(name: str) -> None:
    (weights,) = find(f"timm/{name}").weights
    config = resolve_data_config(pretrained_cfg=timm_models.get_pretrained_cfg(name).to_dict())
    resize, crop, *_, normalise = create_transform(**config).transforms
    ours = Preprocessing.of(weights)
    assert ours.resize == (resize.size if isinstance(resize.size, int) else min(resize.size))
    assert (ours.size, ours.size) == tuple(crop.size)
    assert ours.interpolation == resize.interpolation.value
    torch.testing.assert_close(torch.tensor([ours.mean, ours.std]), torch.stack([normalise.mean, normalise.std]))
    assert (weights.dataset, weights.num_classes) == ("imagenet", 1000)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b1", "inception_v3", "swin_v2_t", "regnet_y_16gf"])
def test_torchvision_preprocessing_is_that_of_the_weights(name: str) -> None:
    spec = find(f"torchvision/{name}")
    published = torchvision.models.get_model_weights(name)
    assert spec.weights[0].name == published.DEFAULT.name
    assert {weights.name for weights in spec.weights} == {weights.name for weights in published}
    for weights in spec.weights:
        transforms = published[weights.name].transforms()
        ours = Preprocessing.of(weights)
        assert ([ours.size], [ours.resize]) == (transforms.crop_size, transforms.resize_size)
        assert (list(ours.mean), list(ours.std)) == (transforms.mean, transforms.std)
        assert ours.interpolation == transforms.interpolation.value


@pytest.mark.parametrize("name", [name for name in torchvision_models.names() if name.startswith("vit_")])
def test_transformers_take_images_of_their_weights_size(name: str) -> None:
    with torch.device("meta"):
        module = torchvision_models.build(name, 10)
    assert module.image_size == torchvision_models.spec(name).weights[0].size


def test_resnet50_is_torchvisions_with_its_published_weights() -> None:
    spec = find("resnet50")
    twins = {weights.name: weights for weights in find("torchvision/resnet50").weights}
    assert {weights.name for weights in spec.weights} == set(twins)
    for weights in spec.weights:
        twin = twins[weights.name]
        assert (weights.url, weights.sha256, weights.filename) == (twin.url, twin.sha256, twin.filename)
        assert Preprocessing.of(weights) == Preprocessing.of(twin)
    module = resolve(spec.build)(1000)
    assert sum(parameter.numel() for parameter in module.parameters()) == 25_557_032


def test_the_default_weights_come_first() -> None:
    spec = find("timm/resnet50")
    assert spec.weights[0].name == timm_models.get_pretrained_cfg("resnet50").tag
    assert len(spec.weights) > 10
    assert [weights.name for weights in find("timm/resnet50.tv_in1k").weights] == ["tv_in1k"]
    assert not any(weights.num_classes == 0 for weights in find("timm/vit_small_patch16_224").weights)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("https_proxy", "HTTPS_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("timm/resnet18.a1_in1k", "huggingface.co/timm/resnet18.a1_in1k"),
        ("torchvision/densenet121", "download.pytorch.org/models/densenet121-a639ec97.pth"),
        ("torchvision/resnet18", "download.pytorch.org/models/resnet18-f37072fd.pth"),
        ("resnet50", "download.pytorch.org/models/resnet50-0676ba61.pth"),
    ],
)
def test_without_a_network_the_error_says_where_to_get_the_weights(
    name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError) as raised:
        load_weights(find(name).weights[0], tmp_path)
    assert where in str(raised.value)
    assert "--weights FILE" in str(raised.value)


@pytest.mark.parametrize(
    ("member", "like"),
    [("resnetv2_50", "head.fc.1.weight"), ("levit_128s", "head.weight")],
)
def test_published_weights_of_rewritten_networks_are_rewritten_too(
    member: str, like: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm is stood in for by a network with known weights; only the download is not real."""
    create: Callable[..., Any] = timm_models.timm.create_model
    torch.manual_seed(0)
    published = create(member, num_classes=1000).eval()
    monkeypatch.setattr(timm_models, "_reachable", lambda _: True)
    monkeypatch.setattr(
        timm_models.timm,
        "create_model",
        lambda name, **options: published if options.pop("pretrained", 0) else create(name, **options),
    )
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        wanted = published(x)
    spec = find(f"timm/{member}")
    state = load_weights(spec.weights[0], tmp_path)
    assert like in state
    module = resolve(spec.build)(1000).eval()
    load_strictly(module, state)
    with torch.no_grad():
        torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_training_returns_logits_only(name: str) -> None:
    module = torchvision_models.build(name, 7).train()
    assert module(torch.randn(2, 3, 299, 299)).shape == (2, 7)
    assert module.transform_input  # as the published weights want it
