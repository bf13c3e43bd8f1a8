"""Wrong command lines and files, one row each: exit status, the offending thing and the remedy named, in one line.

No traceback, nothing on stdout, and nothing written. A new command or option brings its rows here.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ddeep_plugins_builtin
from tests.support.helpers import Outcome
from tests.support.paths import ROOT
from tests.support.pictures import class_folders, save_picture

WEIGHTS = Path(ddeep_plugins_builtin.__file__).parent / "weights" / "resnet20-digits.safetensors"
RUN = ("run", "--model", "resnet20", "--strategy", "paper")
Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Bad:
    """A wrong command: what it must say, and what it finds in its folder."""

    args: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Prepare = lambda _: None
    status: int = 1


def bad(args: str | tuple[str, ...], *says: str, prepare: Prepare = lambda _: None, status: int = 1) -> Bad:
    """A row; the words of ``args`` are separated by spaces where it is text."""
    return Bad(tuple(args.split()) if isinstance(args, str) else args, says, prepare, status)


def run(options: str, *says: str, prepare: Prepare = lambda _: None, status: int = 1) -> Bad:
    """A row of ``ddeep run`` that is right but for ``options``."""
    return bad((*RUN, *options.split()), *says, prepare=prepare, status=status)


def text(name: str, content: str | bytes) -> Prepare:
    """A file in the command's folder."""

    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def toml(content: str) -> Prepare:
    return text("c.toml", content)


def selection(document: Any) -> Prepare:
    return text("s.json", json.dumps(document))


# --- weights files -------------------------------------------------------------------------------------------------


class Planted:
    """Leaves a file behind if somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def state(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The packaged weights, with changes: another tensor, or None to leave one out."""
    loaded = load_file(WEIGHTS)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del loaded[key]
        else:
            loaded[key] = tensor
    return loaded


def saved(make: Callable[[], Any], name: str = "w.pt") -> Prepare:
    return lambda folder: torch.save(make(), folder / name)


def pickled(folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps({"linear.weight": Planted()}))


def truncated(folder: Path) -> None:
    torch.save(state(), folder / "whole.pt")
    content = (folder / "whole.pt").read_bytes()
    (folder / "whole.pt").unlink()
    (folder / "w.pt").write_bytes(content[: len(content) // 2])


def huge_header(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    (folder / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")


# --- image folders -------------------------------------------------------------------------------------------------


def folders(classes: dict[str, int], change: Prepare = lambda _: None) -> Prepare:
    """``data/train`` and ``data/test`` with so many images of each class, changed afterwards."""

    def make(folder: Path) -> None:
        for split in ("train", "test"):
            class_folders(folder / "data" / split, classes, side=32)
        change(folder / "data")

    return make


TEN = {str(digit): 1 for digit in range(10)}
FOLDER = "--dataset folder --weights resnet20-digits"


def two_classes_and_weights_for_ten(folder: Path) -> None:
    folders({"0": 1, "1": 1})(folder)
    torch.save(state(), folder / "w.pt")


def broken_image(data: Path) -> None:
    (data / "train" / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


def claims_to_be_enormous(data: Path) -> None:
    """A picture of 8 × 8 pixels whose header says 50,000 × 50,000."""
    path = save_picture(data / "train" / "3" / "big.png")
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def outside_link(data: Path) -> None:
    (data.parent / "secret.png").write_bytes(b"secret")
    (data / "train" / "3" / "link.png").symlink_to(data.parent / "secret.png")


def other_size(data: Path) -> None:
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(data / "cifar10" / "train" / "cat" / "odd.png")


def cifar(change: Prepare = lambda _: None) -> Prepare:
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905

    def make(folder: Path) -> None:
        for split in ("train", "test"):
            class_folders(folder / "data" / "cifar10" / split, dict.fromkeys(names, 1), side=32)
        change(folder / "data")

    return make


def out_is_taken(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "run.json").write_text("{}")


def shard(**changes: Any) -> Prepare:
    """The folder ``s``, whose ``shard.json`` is right but for ``changes``."""
    settings = {"model": "resnet20", "strategy": "paper", "dataset": "digits"}
    about = {"schema": "ddeep.shard/1", "number": 0, "of": 1, "config": settings, "keys": {}, "filters": 64}
    return text("s/shard.json", json.dumps({**about, **changes}))


def a_run(selection_classes: int = 10, **changes: Any) -> Prepare:
    """The folder ``run``, what a run leaves but for its network, with ``changes`` in its document."""
    rows = [{"index": c, "name": str(c), "filters": [c], "scores": [1.0]} for c in range(selection_classes)]
    chosen = {"schema": "ddeep.selection/1", "num_filters": 64, "absent": [], "source": {}, "classes": rows}

    def make(folder: Path) -> None:
        whole = json.loads(WHOLE_RUN.read_text(encoding="utf-8"))
        document = {**whole, **changes, "hashes": {**whole["hashes"], **changes.get("hashes", {})}}
        (folder / "run").mkdir()
        (folder / "run" / "run.json").write_text(json.dumps(document))
        (folder / "run" / "selection.json").write_text(json.dumps(chosen))

    return make


WHOLE_RUN = ROOT / "tests" / "robustness" / "fuzz" / "seeds" / "run.json"
CIFAR = "--dataset cifar10 --weights resnet20-digits"
COMPARE = "compare --model resnet20 --no-refit"
MEASURE = "measure --model resnet20"
TRAIN = "train --model resnet20 --dataset digits"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(row: Bad, cli_here: Callable[..., Outcome], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that ``row`` stands for names what is wrong, in one line, and leaves everything as it was."""
    monkeypatch.setenv("DDEEP_OFFLINE", "1")
    row.prepare(folder)
    before = contents(folder)
    outcome = cli_here(*row.args)
    assert outcome.status == row.status, outcome.err
    assert outcome.out == ""
    said = outcome.err
    for words in row.says:
        assert words in said, f"{words!r} is not in:\n{said}"
    assert "Traceback" not in said
    assert "DDEEP_DEBUG" not in said, f"not foreseen:\n{said}"
    lines = [line for line in said.splitlines() if not line.startswith(("warning: ", "Images: "))]
    if row.status == 1:
        assert len(lines) == 1, said
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 1000
    assert contents(folder) == before
    assert not (folder / "runs").is_dir()
