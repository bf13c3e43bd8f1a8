"""A run directory vouches for its files: whatever changed in them is named by all who read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.errors import DataError
from ddeep.experiments.finetune import finetune
from ddeep.experiments.run import run
from ddeep.experiments.settings import FinetuneConfig, ReportConfig, RunConfig
from ddeep.reports import write_report
from ddeep.results.run import load, read_run, save_run

READERS: dict[str, Callable[[Path], object]] = {
    "load": load,
    "report": lambda folder: write_report(folder, ReportConfig(no_layers=True)),
    "finetune": lambda folder: finetune(folder, FinetuneConfig(epochs=1)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    save_run(run(RunConfig(model="resnet20", strategy="weight", no_refit=True, device="cpu")), folder)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["selection.json", "metrics.json", "model.safetensors"])
def test_a_flipped_bit_is_named(name: str, reader: str, copied: Path) -> None:
    flip(copied / name)
    with pytest.raises(DataError, match=f"{name} is not what was written"):
        READERS[reader](copied)


@pytest.mark.parametrize("reader", READERS)
def test_an_edited_figure_is_named(reader: str, copied: Path) -> None:
    path, full = copied / "run.json", read_run(copied)["accuracy"]["full"]
    text = path.read_text()
    assert f'"full": {full}' in text
    path.write_text(text.replace(f'"full": {full}', '"full": 99.99'))
    with pytest.raises(DataError, match=r"run\.json is not a run: it is not what was written"):
        READERS[reader](copied)


def test_what_is_put_beside_a_run_does_not_matter(copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    assert not load(copied).training


def test_a_run_of_before_seals_is_read(copied: Path) -> None:
    import json

    document = json.loads((copied / "run.json").read_text())
    del document["sealed"], document["status"]
    (copied / "run.json").write_text(json.dumps(document))
    assert read_run(copied) == document
