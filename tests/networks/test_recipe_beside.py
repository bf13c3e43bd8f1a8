"""What a checkpoint's neighbour says of its images is taken; what nobody says is warned of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import WeightsError
from ddeep.networks.network import Network, load_network
from ddeep.networks.recipe_beside import recipe_beside
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve

HALF = [0.5, 0.5, 0.5]
TIMM = {
    "architecture": "x",
    "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 0.95, "mean": HALF, "std": HALF},
}
CROPPED = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
FACE = {**CROPPED, "image_mean": HALF, "image_std": [0.1, 0.2, 0.3], "resample": 3}
OFFSET = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
HALF_255 = (0.5 / 255,) * 3


def face(mean: Any = (0.5,) * 3, std: Any = (0.1, 0.2, 0.3), size: int = 224, **given: Any) -> Preprocessing:
    """What ``FACE`` says, but for what is given."""
    return Preprocessing(mean, std, size, given.pop("resize", 256), "bicubic", **given)


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def convnext(side: int, share: float) -> dict[str, Any]:
    """As ConvNeXt's processor saves itself: one side, and the crop's share of the resized image."""
    return {**without(without(FACE, "do_center_crop"), "crop_size"), "size": {"shortest_edge": side}, "crop_pct": share}


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        ("config.json", TIMM, Preprocessing((0.5,) * 3, (0.5,) * 3, 160, 168, "bilinear")),
        ("preprocessor_config.json", FACE, Preprocessing((0.5,) * 3, (0.1, 0.2, 0.3), 224, 256, "bicubic")),
        ("config.json", {"model_type": "resnet"}, None),
        ("preprocessor_config.json", without(FACE, "do_center_crop"), face()),
        ("preprocessor_config.json", {**FACE, "do_center_crop": False}, face(size=256)),
        ("preprocessor_config.json", {**FACE, "do_normalize": False}, face(mean=(0.0,) * 3, std=(1.0,) * 3)),
        (
            "preprocessor_config.json",
            {**FACE, "do_rescale": False, "image_std": [51.0] * 3},
            face(HALF_255, (0.2,) * 3),
        ),
        ("preprocessor_config.json", {**FACE, **OFFSET}, face((0.5,) * 3, (0.5,) * 3)),
        ("preprocessor_config.json", convnext(224, 0.875), face(resize=256)),
        ("preprocessor_config.json", convnext(384, 0.875), face(size=384, resize=384, squash=True)),
    ],
)
def test_what_the_file_beside_says(tmp_path: Path, name: str, document: Any, expected: Preprocessing | None) -> None:
    (tmp_path / name).write_text(json.dumps(document))
    found = recipe_beside(tmp_path / "model.safetensors")
    assert (found and found[0]) == expected


@pytest.mark.parametrize(
    "document",
    [
        {**FACE, "size": {"height": 10, "width": 20}},
        {**FACE, "size": 10**9},
        {**FACE, "resample": 77},
        {**FACE, "image_std": [0, 0, 0]},
        {**FACE, "image_mean": "abc"},
        {**FACE, "do_resize": False},
        {**FACE, "do_flip_channel_order": True},
        [],
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, document: Any) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    with pytest.raises(WeightsError, match="does not say how images are prepared"):
        recipe_beside(tmp_path / "model.pth")


def loaded(folder: Path, **given: Any) -> Network:
    spec = registry().find("model", "resnet20")
    path = folder / "mine.pth"
    torch.save(resolve(spec.build)(10).state_dict(), path)
    images = TensorImages.of(torch.zeros(10, 32, 32, 3, dtype=torch.uint8), torch.arange(10), tuple("abcdefghij"))
    return load_network(spec, images, dataset="cifar10", data_dir=folder, weights=str(path), **given)


def test_a_file_that_inherits_a_recipe_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inherited = loaded(tmp_path).needed_preprocessing()
    shown = " ".join(capsys.readouterr().err.split())
    assert "does not say how its images were prepared" in shown
    assert str(inherited) in shown
    given = loaded(tmp_path, size=24, resize=28, interpolation="bicubic", mean=(0.1,) * 3, std=(0.2,) * 3)
    assert given.preprocessing == Preprocessing((0.1,) * 3, (0.2,) * 3, 24, 28, "bicubic")
    assert "warning" not in capsys.readouterr().err


def test_the_file_beside_counts_for_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TIMM))
    assert loaded(tmp_path).needed_preprocessing().size == 160
    shown = capsys.readouterr().err
    assert "config.json" in shown
    assert "warning" not in shown
    assert loaded(tmp_path, size=32, resize=32).needed_preprocessing().size == 32
