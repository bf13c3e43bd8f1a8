"""``ddeep cache``, and commands that share a cache."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.evidence.resume import PartialPass
from ddeep.files.cache import clear_cache
from tests.support.helpers import Outcome
from tests.support.waiting import PATIENCE

Cli = Callable[..., Outcome]
WORDS = ("run", "--model", "resnet20", "--strategy", "paper", "--no-refit", "--json")
LEFT = "0" * 32  # an unfinished pass


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_listed_and_cleared(cli_here: Cli, root: Path) -> None:
    assert cli_here("cache", "--json").json["entries"] == []
    assert cli_here(*WORDS).status == 0
    listed = cli_here("cache", "--json").json
    assert listed["folder"] == str(root)
    found = {(row["model"], row["layer"], row["split"], row["images"], row["filters"]) for row in listed["entries"]}
    assert found == {("resnet20", "layer3.2", "train", 1433, 64), ("resnet20", "layer3.2", "test", 364, 64)}
    assert sum(row["bytes"] for row in listed["entries"]) == listed["bytes"]["responses"] > 4 * 64 * 1797
    shown = cli_here("cache").out
    assert "layer3.2" in shown
    assert str(root) in shown
    freed = cli_here("cache", "clear", "--json").json["freed"]
    assert freed == sum(listed["bytes"].values())
    assert cli_here("cache", "--json").json["entries"] == []
    assert "Freed 0.0 MB" in cli_here("cache", "clear").out


def test_an_entry_without_responses_is_listed(cli_here: Cli, root: Path) -> None:
    folder = root / "responses" / ("0123" * 8)
    folder.mkdir(parents=True)
    (folder / f"Something-{'0' * 16}.safetensors").write_bytes(b"12345")
    (row,) = cli_here("cache", "--json").json["entries"]
    assert (row["model"], row["bytes"]) == (None, 5)
    assert cli_here("cache").status == 0


def test_clearing_leaves_a_pass_under_way(root: Path) -> None:
    with PartialPass({"some": "pass"}) as under_way:
        left = root / "passes" / LEFT
        left.mkdir()
        (left / "lock").touch()
        clear_cache()
        assert under_way.folder.is_dir()
        assert not left.exists()


def test_a_lock_is_looked_at_not_taken(root: Path) -> None:
    (root / "passes" / LEFT).mkdir(parents=True)
    with (root / "passes" / LEFT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clear_cache()
    assert (root / "passes" / LEFT).exists()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY half of it"], ids=["empty", "cut"])
def test_a_damaged_entry_is_told_of_and_rebuilt(cli_here: Cli, root: Path, damage: bytes) -> None:
    first = cli_here(*WORDS).json
    files = sorted(root.glob("responses/*/responses/responses.npy"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(damage)
    again = cli_here(*WORDS)
    assert again.status == 0
    assert again.err.count("cannot be trusted") == 2
    assert again.json["accuracy"] == first["accuracy"]
    assert again.json["selection"] == first["selection"]
    third = cli_here(*WORDS)
    assert "trusted" not in third.err
    assert sorted(root.glob("responses/*/responses/responses.npy")) == files
    assert files[0].stat().st_size > len(damage)


def test_two_commands_at_once(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "ddeep", *WORDS]
    started = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / name)],
            cwd=tmp_path,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    ended = [process.communicate(timeout=PATIENCE) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    one, other = (json.loads(out) for out, _ in ended)
    assert one["accuracy"] == other["accuracy"]
    assert one["selection"] == other["selection"]
    assert len(list(root.glob("responses/*/responses/about.json"))) == 2
    assert not list(root.glob("responses/**/*.tmp"))
    assert not list(root.glob("passes/*"))
