"""What is killed: a command each, the images it reads, and when what it leaves is right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddeep.experiments.merge import gather_shard
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig
from ddeep.experiments.train import SCHEMA as TRAINING
from ddeep.files.atomic import sha256_of
from ddeep.results.run import load, read_run, save_run
from ddeep.selections.selection import Selection
from ddeep.training.checkpoint import CHECKPOINT, Checkpoint
from tests.support.documents import read_document
from tests.support.pictures import class_folders

_CLASSES = {str(digit): 12 for digit in range(10)}
_CLOCK = {"timings", "seconds", "images_per_second"}


@dataclass(frozen=True)
class Scenario:
    """A command. ``side`` is that of the images it reads from files, None for the packaged digits.

    ``result`` is what a finished output holds, the same at every start. ``unfinished`` says whether an output may wait
    to be gone on with, and ``go_on`` is the command for that, where it is another. ``source`` makes the folder that a
    command begins with, ``SOURCE`` among its words; ``file`` is what it writes into the output, if not all of it.
    """

    name: str
    words: tuple[str, ...]
    result: Callable[[Path], Any]
    side: int | None = None
    unfinished: Callable[[Path], bool] = lambda _: False
    go_on: tuple[str, ...] = ()
    source: Callable[[Path], object] | None = None
    file: str = ""

    def arguments(self, out: Path, data: Path) -> list[str]:
        """The command line that writes ``out``."""
        if self.go_on and out.exists() and self.unfinished(out):
            return [*self.go_on, str(out)]
        images = [] if self.side is None else ["--dataset", "folder", "--data-dir", str(data)]
        words = [word.replace(_SOURCE, str(_source_of(data))) for word in self.words]
        return [*words, *images, "--out", str(out / self.file)]

    def make_images(self, data: Path) -> None:
        """The images it reads."""
        if self.side is not None:
            for split in ("train", "test"):
                class_folders(data / split, _CLASSES, side=self.side)
        if self.source is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DDEEP_CACHE", str(data.parent / "made"))
                self.source(_source_of(data))


_SOURCE = "SOURCE"


def _source_of(data: Path) -> Path:
    return data.parent / "source"


def stable(document: Any) -> Any:
    """A document without what a clock has put into it."""
    if isinstance(document, dict):
        return {key: stable(value) for key, value in document.items() if key not in _CLOCK}
    return [stable(value) for value in document] if isinstance(document, list) else document


def alike(found: Any, expected: Any) -> bool:
    """Whether two results are the same; numbers with a fraction to 1e-5.

    A command that goes on with the layers that are not cached yet folds other norms, which rounds differently.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in found)
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-7)
    return bool(found == expected)


def _run(out: Path) -> Any:
    document = read_run(out)
    load(out)
    assert json.loads((out / "metrics.json").read_text()) == document["metrics"]
    return stable(document), Selection.load(out / "selection.json").filters, sha256_of(out / "model.safetensors")


def _document(name: str) -> Callable[[Path], Any]:
    return lambda out: stable(read_document(out / name))


def _trained(out: Path) -> Any:
    document = read_run(out, TRAINING)
    assert document["status"] == "finished"
    document["config"].pop("out")
    return stable(document), sha256_of(out / "model.safetensors")


def _training(out: Path) -> bool:
    """Whether training can go on in ``out``. What is there must be whole."""
    if not (out / "run.json").exists():
        return False
    return _whole_if_begun(out, read_run(out, TRAINING))


def _fine_tuning(out: Path) -> bool:
    """The same of fine-tuning."""
    return (out / "run.json").exists() and _whole_if_begun(out, read_run(out, unfinished=True))


def _whole_if_begun(out: Path, document: dict[str, Any]) -> bool:
    if document["status"] == "running" and (out / CHECKPOINT).exists():
        Checkpoint.read(out / CHECKPOINT)
    return bool(document["status"] == "running")


def _reported(out: Path) -> Any:
    figures = sorted(path.name for path in (out / "figures").iterdir())
    return sha256_of(out / "report.html"), figures


def _make_run(source: Path) -> None:
    save_run(run(_DIGITS), source)


def _make_shards(source: Path) -> None:
    for number in (0, 1):
        gather_shard(_DIGITS, number, 2, source / str(number))


_CPU = ("--device", "cpu")
_DIGITS = RunConfig(model="resnet20", weights="resnet20-digits", strategy="paper", no_refit=True, device="cpu")
_RESNET = ("--model", "resnet20", "--weights", "resnet20-digits", *_CPU)
SCENARIOS: Sequence[Scenario] = (
    Scenario("run", ("run", "--strategy", "paper", *_RESNET), _run),
    Scenario("run on files", ("run", "--strategy", "paper", "--batch-size", "16", *_RESNET), _run, side=72),
    Scenario("conversion", ("run", "--strategy", "weight", "--no-refit", *_RESNET), _run, side=32),
    Scenario(
        "compare",
        ("compare", "--strategies", "paper,weight,random", "--k", "2,5", "--no-refit", *_RESNET),
        _document("comparison.json"),
        side=32,
    ),
    Scenario(
        "response cache",
        ("measure", "--layers", "layer3.*", "--metrics", "psi,class-selectivity", *_RESNET),
        _document("measurement.json"),
        side=32,
    ),
    Scenario(
        "train",
        ("train", "--model", "resnet20", "--epochs", "4", "--batch-size", "40", *_CPU),
        _trained,
        side=32,
        unfinished=_training,
        go_on=("train", "--resume"),
    ),
    Scenario(
        "finetune",
        ("finetune", _SOURCE, "--epochs", "2", "--batch-size", "100", *_CPU),
        _run,
        unfinished=_fine_tuning,
        go_on=("finetune", "--resume"),
        source=_make_run,
    ),
    Scenario("merge", ("merge", f"{_SOURCE}/0", f"{_SOURCE}/1"), _run, source=_make_shards),
    Scenario(
        "report",
        ("report", _SOURCE, "--no-layers"),
        _reported,
        unfinished=lambda out: not (out / "report.html").exists(),
        source=_make_run,
        file="report.html",
    ),
)
