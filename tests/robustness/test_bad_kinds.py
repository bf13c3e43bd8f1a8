"""Pipes and devices in the place of files: refused, and nothing waits for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import CIFAR, Bad, Prepare, bad, check, cifar, run
from tests.support.helpers import Outcome


def replace_by_pipe(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def pipe(name: str) -> Prepare:
    return lambda folder: replace_by_pipe(folder / name)


ROWS: dict[str, Bad] = {
    "report on a pipe": bad("report r", "r/run.json", "a pipe, not a file", prepare=pipe("r/run.json")),
    "report on a pipe of comparisons": bad("report r", "a pipe, not a file", prepare=pipe("r/comparison.json")),
    "merge a pipe": bad("merge s", "s is not a shard", "a pipe, not a file", prepare=pipe("s/shard.json")),
    "weights that are a pipe": run("--weights w.pt", "a pipe, not a file", prepare=pipe("w.pt")),
    "safetensors that are a pipe": run("--weights w.safetensors", "a pipe, not a file", prepare=pipe("w.safetensors")),
    "a config that is a pipe": run("--config c.toml", "c.toml", "a pipe, not a file", prepare=pipe("c.toml")),
    "resume from a pipe": bad("train --resume t", "a pipe, not a file", prepare=pipe("t/run.json")),
    "an image that is a pipe": run(
        f"{CIFAR} --data-dir data",
        "cat holds no image",
        prepare=cifar(lambda data: replace_by_pipe(data / "cifar10" / "train" / "cat" / "0.png")),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_waits(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
