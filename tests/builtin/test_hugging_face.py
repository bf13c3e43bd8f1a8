"""Datasets of Hugging Face: saved, parquet, and images with metadata; and what a table may not do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddeep.data.decoding import pixels_of, read_rgb
from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import ConfigError, DataError
from ddeep_plugins_builtin.datasets import hugging_face
from ddeep_plugins_builtin.datasets.hugging_face import open_dataset
from tests.support.helpers import Outcome

datasets = pytest.importorskip("datasets")

NAMES = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("DDEEP_OFFLINE", "1")


def picture(seed: int, height: int = 70, width: int = 90) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def table(start: int, count: int, labels: Any = None, height: int = 70, **more: Any) -> Any:
    pictures = [picture(at, height, height + 20) for at in range(start, start + count)]
    truth = [at % 3 for at in range(count)]
    features = {"image": datasets.Image(), "label": labels or datasets.ClassLabel(names=NAMES)}
    columns = {"image": pictures, "label": [str(NAMES[at]) for at in truth] if _is_text(labels) else truth}
    columns |= more
    features |= {name: datasets.Value("int64") for name in more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _is_text(labels: Any) -> bool:
    return labels is not None and getattr(labels, "dtype", "") == "string"


def save(folder: Path, test: str = "test", **given: Any) -> None:
    datasets.DatasetDict({"train": table(0, 6, **given), test: table(6, 3, **given)}).save_to_disk(str(folder))


def parquet(folder: Path) -> None:
    folder.mkdir()
    table(0, 6).to_parquet(str(folder / "train-00000-of-00001.parquet"))
    table(6, 3).to_parquet(str(folder / "validation-00000-of-00001.parquet"))


def images_with_metadata(folder: Path) -> None:
    for split, numbers in (("train", range(6)), ("test", range(6, 9))):
        (folder / split).mkdir(parents=True)
        lines = []
        for row, at in enumerate(numbers):
            picture(at).save(folder / split / f"{at}.png")
            lines.append(json.dumps({"file_name": f"{at}.png", "label": NAMES[row % 3]}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("write", [save, parquet, images_with_metadata])
def test_every_form_opens_to_its_pictures(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "mine")
    for split, numbers in (("train", range(6)), ("test", range(6, 9))):
        images = open_dataset("mine", tmp_path, split)  # not here, so in the folder of the data
        assert isinstance(images, FileImages)
        assert images.classes == tuple(NAMES)
        assert images.labels.tolist() == [row % 3 for row in range(len(numbers))]
        for file, at in zip(images.files, numbers, strict=True):
            assert torch.equal(pixels_of(read_rgb(file)), pixels_of(picture(at)))
        again = open_dataset(str(tmp_path / "mine"), Path("data"), split)
        assert (again.content_hash, len(again.content_hash)) == (images.content_hash, 64)


def test_a_run_and_an_explanation(tmp_path: Path, cli_here: Callable[..., Outcome]) -> None:
    ten = datasets.ClassLabel(names=list("0123456789"))
    save(tmp_path / "mine", labels=ten)
    words = ("--dataset", "hf:mine", "--model", "resnet20", "--weights", "resnet20-digits", "--k", 3)
    done = cli_here("run", *words, "--strategy", "paper", "--no-refit", "--out", "found")
    assert done.status == 0, done.err
    assert cli_here("explain", "found", "test:1").status == 0


def test_small_pictures_are_decoded_once(tmp_path: Path) -> None:
    save(tmp_path / "mine", height=8)
    assert isinstance(open_dataset("mine", tmp_path, "train"), TensorImages)


@pytest.mark.parametrize(
    ("labels", "classes"), [(datasets.Value("int64"), ("0", "1", "2")), (datasets.Value("string"), tuple(NAMES))]
)
def test_labels_without_names(tmp_path: Path, labels: Any, classes: tuple[str, ...]) -> None:
    save(tmp_path / "mine", labels=labels)
    images = open_dataset("mine", tmp_path, "train")
    assert (images.classes, images.labels.tolist()) == (classes, [0, 1, 2, 0, 1, 2])


def test_the_column_of_labels_may_be_named(tmp_path: Path) -> None:
    part = table(0, 6, coarse=[1, 0, 1, 0, 1, 0])
    datasets.DatasetDict(train=part, test=part).save_to_disk(str(tmp_path / "mine"))
    assert open_dataset("mine#coarse", tmp_path, "train").labels.tolist() == [1, 0, 1, 0, 1, 0]
    with pytest.raises(DataError, match="has no column 'fine': its columns are image, label, coarse"):
        open_dataset("mine#fine", tmp_path, "train")


def test_a_split_without_labels_is_none(tmp_path: Path) -> None:
    whole, bare = table(0, 6), table(6, 3, labels=datasets.Value("int64")).map(lambda _: {"label": -1})
    bare = bare.cast(whole.features)
    datasets.DatasetDict(train=whole, test=bare, validation=table(20, 3)).save_to_disk(str(tmp_path / "mine"))
    images = open_dataset("mine", tmp_path, "test")
    assert isinstance(images, FileImages)
    assert torch.equal(pixels_of(read_rgb(images.files[0])), pixels_of(picture(20)))


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    save(tmp_path / "one")
    save(tmp_path / "same")
    other = datasets.DatasetDict(train=table(1, 6), test=table(6, 3))
    other.save_to_disk(str(tmp_path / "other"))
    opened = {name: open_dataset(name, tmp_path, "train") for name in ("one", "same", "other")}
    assert opened["one"].content_hash == opened["same"].content_hash != opened["other"].content_hash


def test_a_table_opens_no_file_outside_its_folder(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "secret.png")
    rows = {"image": [str(tmp_path / "secret.png")] * 2, "label": [0, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    table_of_paths = datasets.Dataset.from_dict(rows, features=features)
    with pytest.raises(DataError, match=r"names '.*secret.png', which is not in its folder"):
        hugging_face._opened(table_of_paths, None, NAMES, tmp_path / "mine", "hf:mine")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: table(0, 3).save_to_disk(str(folder)), "is one split"),
        (lambda folder: save(folder, test="other"), "has the splits train, other"),
        (lambda folder: folder.mkdir(), "cannot be opened"),
        (
            lambda folder: datasets.DatasetDict(
                train=datasets.Dataset.from_dict({"text": ["a"]}), test=datasets.Dataset.from_dict({"text": ["a"]})
            ).save_to_disk(str(folder)),
            "no column that is known as labels: name one of text",
        ),
        (
            lambda folder: datasets.DatasetDict(
                train=datasets.Dataset.from_dict({"label": [[0, 1]]}), test=datasets.Dataset.from_dict({"label": [[0]]})
            ).save_to_disk(str(folder)),
            "multi-label data",
        ),
    ],
    ids=["one split", "no test", "nothing", "text", "several labels"],
)
def test_what_cannot_be_opened_is_said(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "mine")
    with pytest.raises(DataError, match=message):
        open_dataset("mine", tmp_path, "train")


@pytest.mark.parametrize(
    ("place", "message"), [("nothing", "There is no folder nothing"), ("nobody/nothing", "has no nobody/nothing")]
)
def test_what_is_not_there_is_said(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(place, tmp_path, "train")


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "mine")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'ddeep\[hf\]'"):
        open_dataset("mine", tmp_path, "train")
