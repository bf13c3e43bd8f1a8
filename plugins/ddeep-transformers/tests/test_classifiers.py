"""Ten architectures, saved to and loaded from disk, as a user would name them; and folders that are no classifier's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ddeep_transformers import folders
from ddeep_transformers.classifiers import spec
from huggingface_hub import constants

import ddeep
from ddeep.plugin import DdeepError, WeightsError, load_strictly

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LAYERS = {
    "vit": ("classifier", "vit.layernorm"),
    "deit": ("classifier", "deit.layernorm"),
    "swin": ("classifier", "swin.layernorm"),
    "convnext": ("classifier", "convnext.layernorm"),
    "resnet": ("classifier.1", "resnet.encoder.stages.1"),
    "mobilenet_v2": ("classifier", "mobilenet_v2.conv_1x1"),
    "beit": ("classifier", "beit.pooler"),
    "dinov2": ("classifier", "classifier:input"),
    "efficientnet": ("classifier", "dropout"),  # its maps have one position, so that this is the same
    "regnet": ("classifier.1", "regnet.encoder.stages.1"),
}


Save = Callable[[str, Path], Any]


def command(*words: str) -> None:
    """A command line of ddeep, as a user types it."""
    done = subprocess.run([sys.executable, "-m", "ddeep", *words], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("architecture", list(LAYERS))
def test_ddeep_run(
    architecture: str, save: Save, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = save(architecture, tmp_path / "mine")
    given = {"model": "hf/mine", "dataset": "folder", "data_dir": pictures}
    document = ddeep.run(**given, strategy="contribution", no_refit=True).document
    assert (document["head"], document["layer"]) == LAYERS[architecture]
    assert [row["class"] for row in document["per_class"]] == NAMES  # in the order of the outputs, not of the alphabet
    assert document["accuracy"]["decomposed"] is not None
    found = spec("mine")
    (weights,) = found.weights
    ours = found.build(10).eval()
    load_strictly(ours, weights.state())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).logits, module(images).logits)


def test_a_run_of_such_a_network_opens_again(
    save: Save, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save("resnet", tmp_path / "mine")
    images = ["--dataset", "folder", "--data-dir", str(pictures)]
    command("run", "--model", "hf/mine", *images, "--strategy", "paper", "--no-refit", "--out", "found")
    command("report", "found", "--no-layers")
    command("export", "found", "--to", "pt2", "--out", "plain")


def test_other_classes_get_a_fresh_head(save: Save, tmp_path: Path) -> None:
    save("vit", tmp_path / "mine")
    assert spec(str(tmp_path / "mine")).build(3)(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)


def test_nothing_runs_that_comes_with_a_folder(save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    save("vit", folder)
    config = json.loads((folder / "config.json").read_text())
    code = "open('ran', 'w').close()"
    (folder / "modeling.py").write_text(code)
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "modeling.Own", "AutoModelForImageClassification": "modeling.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="names no architecture that transformers has"):
        spec(str(folder))
    assert not (tmp_path / "ran").exists()


def test_pickles_are_not_opened(save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    module = save("vit", folder)
    (folder / "model.safetensors").unlink()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pickles \(pytorch_model.bin\) are not opened"):
        spec(str(folder)).weights[0].state()


def test_weights_of_something_else_are_refused(save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    module = save("vit", folder)
    module.vit.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["ViTForImageClassification"]}
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": 10}))
    with pytest.raises(WeightsError, match="lack 2 of the network's, such as classifier"):
        spec(str(folder)).weights[0].state()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", {"model_type": "bert"}, "no image classifier"),
        ("config.json", {"model_type": "nothing-known"}, "names no architecture"),
        ("preprocessor_config.json", {"image_std": 0}, "cannot be used|prepares images as ddeep cannot"),
        ("preprocessor_config.json", {"image_processor_type": "NoSuchProcessor"}, "cannot be used"),
        ("preprocessor_config.json", {"size": {"height": 16, "width": 32}}, "prepares images as ddeep cannot"),
        ("config.json", None, "holds no config.json"),
        ("preprocessor_config.json", None, "holds no preprocessor_config.json"),
    ],
)
def test_what_cannot_be_is_said(
    save: Save, tmp_path: Path, name: str, change: dict[str, object] | None, message: str
) -> None:
    save("vit", tmp_path / "mine")
    path = tmp_path / "mine" / name
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DdeepError, match=message):
        spec(str(tmp_path / "mine"))


def test_a_name_of_the_hub_is_looked_for_in_its_cache_first(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDEEP_OFFLINE", "1")
    place = tmp_path / "models--somebody--digits"
    save("resnet", place / "snapshots" / "0a1b")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0a1b")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert spec("somebody/digits").weights[0].num_classes == 10
    assert folders.names() == ["somebody/digits"]
    with pytest.raises(WeightsError, match="downloads are forbidden"):
        spec("somebody/else")
    with pytest.raises(DdeepError, match="No model is called 'hf/nothing'"):
        ddeep.run(model="hf/nothing", dataset="digits", strategy="paper")
