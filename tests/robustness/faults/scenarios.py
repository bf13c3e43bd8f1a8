"""What is killed: a command each, the images it reads, and when what it leaves is right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddeep.data.images import SPLITS
from ddeep.evidence.shards import read_facts
from ddeep.experiments.cut import cut_run
from ddeep.experiments.merge import gather_shard
from ddeep.experiments.run import run
from ddeep.experiments.settings import CutConfig, RunConfig
from ddeep.experiments.train import SCHEMA as TRAINING
from ddeep.files.atomic import sha256_of
from ddeep.files.cache import PARTS, entries_in
from ddeep.results.run import load, read_run, save_run
from ddeep.selections.selection import Selection
from ddeep.training.checkpoint import CHECKPOINT, Checkpoint
from tests.support.documents import read_document
from tests.support.pictures import class_folders

_CLASSES = {str(digit): 12 for digit in range(10)}
_SIDE = 32
_CLOCK = {"timings", "seconds", "images_per_second", "milliseconds", "head_forms"}


@dataclass(frozen=True)
class Scenario:
    """A command. ``side`` is that of the images it reads from files, None for the packaged digits.

    ``result`` is what a finished output holds, the same at every start. ``unfinished`` says whether an output may wait
    to be gone on with, and ``go_on`` is the command for that, where it is another. ``source`` makes the folder that a
    command begins with, ``SOURCE`` among its words, as ``OUT`` stands for the output's name. ``file`` is what it writes
    into the output, if not all of it, and None where a command has no output. ``prepare`` makes the cache ready before
    every start.
    """

    name: str
    words: tuple[str, ...]
    result: Callable[[Path], Any]
    side: int | None = None
    unfinished: Callable[[Path], bool] = lambda _: False
    go_on: tuple[str, ...] = ()
    source: Callable[[Path, Path], object] | None = None
    file: str | None = ""
    prepare: Callable[[Path], object] = lambda _: None

    def arguments(self, out: Path, data: Path) -> list[str]:
        """The command line that writes ``out``."""
        if self.go_on and out.exists() and self.unfinished(out):
            return [*self.go_on, str(out)]
        images = [] if self.side is None else ["--dataset", "folder", "--data-dir", str(data)]
        words = [word.replace(_SOURCE, str(_source_of(data))).replace(_OUT, out.name) for word in self.words]
        return [*words, *images, *(() if self.file is None else ("--out", str(out / self.file)))]

    def make_images(self, data: Path) -> None:
        """The images it reads."""
        if self.side is not None or self.source is not None:
            for split in ("train", "test"):
                class_folders(data / split, _CLASSES, side=self.side or _SIDE)
        if self.source is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DDEEP_CACHE", str(data.parent / "made"))
                self.source(_source_of(data), data)


_SOURCE = "SOURCE"
_OUT = "OUT"


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


def _shard(out: Path) -> Any:
    facts = read_facts(out).model_dump()
    facts["config"].pop("out", None)
    return facts, [np.load(out / f"{split}.npy").tolist() for split in SPLITS]


def _plugin(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)).replace(out.name, ""): path.read_text().replace(out.name, "") for path in files}


def _drawn(out: Path) -> list[Path]:
    return sorted(path for path in out.iterdir() if not path.name.startswith("."))


def _undrawn(out: Path) -> bool:
    return len(_drawn(out)) < 2 * len(_PICTURES)


# How a whole picture of each kind begins and ends.
_PICTURES = {
    ".pdf": (b"%PDF-", b"%%EOF"),
    ".png": (b"\x89PNG", b"IEND\xaeB`\x82"),
    ".svg": (b"<?xml", b"</svg>"),
}


def _pictures(out: Path) -> list[str]:
    found = _drawn(out)
    for path in found:
        first, last = _PICTURES[path.suffix]
        content = path.read_bytes().rstrip()
        assert content.startswith(first), path
        assert content.endswith(last), path
    return [path.name for path in found]


def _source_as_it_was(out: Path) -> dict[str, str]:
    """Of a command that only reads."""
    source = out.parent.parent / _SOURCE.lower()
    return {str(path.relative_to(source)): sha256_of(path) for path in source.rglob("*") if path.is_file()}


def _cleared(out: Path) -> list[Path]:
    return [path for part in PARTS for path in entries_in(out.parent / "cache" / part, PARTS[part])]


def _fill(cache: Path) -> None:
    """What a killed clearing has left must do for a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDEEP_CACHE", str(cache))
        found = run(_settings(cache.parent.parent / "images")).selection.filters
        assert found == Selection.load(cache.parent.parent / "source" / "selection.json").filters


def _settings(data: Path) -> RunConfig:
    return RunConfig(**_DIGITS, dataset="folder", data_dir=data)


def _make_run(source: Path, data: Path) -> None:
    save_run(run(_settings(data)), source)


def _make_shards(source: Path, data: Path) -> None:
    for number in (0, 1):
        gather_shard(_settings(data), number, 2, source / str(number))


def _make_cuts(source: Path, data: Path) -> None:
    _make_run(source / "run", data)
    for classes in (("0", "1"), ("2", "3")):
        cut_run(source / "run", CutConfig(classes=classes, device="cpu"), source / classes[0])


_CPU = ("--device", "cpu")
_DIGITS: dict[str, Any] = {
    "model": "resnet20",
    "weights": "resnet20-digits",
    "strategy": "paper",
    "no_refit": True,
    "device": "cpu",
}
_RESNET = ("--model", "resnet20", "--weights", "resnet20-digits", *_CPU)
SCENARIOS: Sequence[Scenario] = (
    Scenario("run", ("run", "--strategy", "paper", *_RESNET), _run),
    Scenario("run on files", ("run", "--strategy", "paper", "--batch-size", "16", *_RESNET), _run, side=72),
    Scenario("conversion", ("run", "--strategy", "weight", "--no-refit", *_RESNET), _run, side=32),
    Scenario(
        "compare",
        ("compare", "--strategies", "paper,weight", "--k", "2", "--no-refit", *_RESNET),
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
        ("train", "--model", "resnet20", "--epochs", "2", "--batch-size", "40", *_CPU),
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
    Scenario("shard", ("run", "--shard", "1/2", "--strategy", "paper", *_RESNET), _shard, side=32),
    Scenario("explain", ("explain", _SOURCE, "test:0", "test:7"), _pictures, unfinished=_undrawn, source=_make_run),
    Scenario("export", ("export", _SOURCE, "--to", "safetensors"), _document("export.json"), source=_make_run),
    Scenario("cut", ("cut", _SOURCE, "--classes", "0,1"), _document("cut.json"), source=_make_run),
    Scenario("forget", ("forget", _SOURCE, "--classes", "3"), _document("forget.json"), source=_make_run),
    Scenario(
        "merge-modules",
        ("merge-modules", f"{_SOURCE}/0", f"{_SOURCE}/2"),
        _document("modules.json"),
        source=_make_cuts,
    ),
    Scenario("verify", ("verify", _SOURCE), _source_as_it_was, source=_make_run, file=None),
    Scenario("cache clear", ("cache", "clear"), _cleared, source=_make_run, file=None, prepare=_fill),
    Scenario("layers", ("layers", "resnet20"), lambda _: None, file=None),
    Scenario("list", ("list", "strategies"), lambda _: None, file=None),
    Scenario("plugins new", ("plugins", "new", _OUT), _plugin, file=None),
)
