"""The page "bring your own": every command and line on it, as a user would type it."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from tests.project.test_documents import code_blocks, commands
from tests.support.helpers import Outcome
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "bring-your-own.md"
DIGITS = list("0123456789")


def test_every_command_runs(tmp_path: Path, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(code_blocks(PAGE, "python")[0])
    save_for_transformers(tmp_path / "vit")
    save_for_timm(tmp_path / "resnet")
    save_pictures(tmp_path)
    own, of_others, of_images = ([line for line, _ in commands(block)] for block in code_blocks(PAGE, "console"))
    assert (len(own), len(of_others), len(of_images)) == (5, 3, 3)
    for line in own + of_others + of_images:
        monkeypatch.setenv("DDEEP_OWN_CODE", "")  # --own-code sets it, for that command alone
        done = cli_here(*shlex.split(line)[1:])
        assert done.status == 0, f"{line}: {done.err}"
        assert "Without images" not in done.err
    assert "fc:input" in cli_here(*shlex.split(own[0])[1:]).out


def save_for_transformers(folder: Path) -> None:
    hf = pytest.importorskip("transformers")
    config = hf.ViTConfig(
        image_size=32, patch_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label=dict(enumerate(DIGITS)), label2id={name: at for at, name in enumerate(DIGITS)},
    )  # fmt: skip
    hf.ViTForImageClassification(config).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def save_for_timm(folder: Path) -> None:
    folder.mkdir()
    save_file(timm.create_model("resnet10t", num_classes=10).state_dict(), folder / "model.safetensors")
    recipe = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"architecture": "resnet10t", "num_classes": 10, "label_names": DIGITS, "pretrained_cfg": recipe}
    (folder / "config.json").write_text(json.dumps(config))


def save_pictures(folder: Path) -> None:
    """The same few digits as a dataset of Hugging Face's and as shards."""
    datasets = pytest.importorskip("datasets")
    images, labels = (part[:40] for part in load_digits(return_X_y=True))
    pictures = [Image.fromarray((15 * one).reshape(8, 8).astype("uint8")).resize((32, 32)) for one in images]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=DIGITS)})
    table = datasets.Dataset.from_dict({"image": pictures, "label": labels.tolist()}, features=features)
    datasets.DatasetDict(train=table, test=table).save_to_disk(str(folder / "saved"))
    (folder / "shards").mkdir()
    for split in ("train", "val"):
        with tarfile.open(folder / "shards" / f"{split}-000.tar", "w") as tar:
            for at, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
                made = io.BytesIO()
                picture.save(made, "png")
                for name, content in ((f"{at}.png", made.getvalue()), (f"{at}.cls", b"%d" % label)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def test_every_line_of_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    blocks = code_blocks(PAGE, "python")
    (tmp_path / "mine.py").write_text(blocks[0])
    scope: dict[str, Any] = {}
    for block in blocks[1:]:
        exec(compile(block, str(PAGE), "exec"), scope)
    selection = scope["selection"]
    assert scope["result"].document["accuracy"]["refit"] is not None
    assert scope["tuned"].document["accuracy"]["finetuned"] is not None
    assert scope["page"].page.exists()
    assert not scope["page"].missing
    assert len(scope["table"].document["rows"]) == 4
    assert selection.source["layer"] == "fc:input"
    for name in ("torch_compiled", "averaged", "of_three", "of_names", "inputs"):
        assert scope[name].filters == selection.filters, name
    assert scope["several"].source["layer"] == "fc:input"
    assert scope["inner"].num_filters == 32
    monkeypatch.delitem(sys.modules, "mine", raising=False)
