"""The same images elsewhere will do for a report and for merging; others will not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.helpers import Outcome
from tests.support.pictures import class_folders, save_picture

Cli = Callable[..., Outcome]
RUN = ("run", "--model", "resnet20", "--weights", "resnet20-digits", "--dataset", "folder", "--strategy", "weight")
SIDE = 72  # not converted to one file of pixels


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        class_folders(tmp_path / "data" / split, {str(digit): 2 for digit in range(10)}, side=SIDE)
    return tmp_path / "data"


def copied(data: Path, *, other: bool) -> Path:
    """A copy with times of its own, as plain cp makes it; or one in which a picture is another."""
    copy = data.with_name("other" if other else "copy")
    shutil.copytree(data, copy, copy_function=shutil.copyfile)
    if other:
        save_picture(copy / "test" / "3" / "0.png", 999, SIDE, SIDE)
    return copy


def test_a_report_takes_a_copy_and_refuses_others(data: Path, cli_here: Cli, tmp_path: Path) -> None:
    assert cli_here(*RUN, "--no-refit", "--out", "run").status == 0
    copy, other = copied(data, other=False), copied(data, other=True)
    data.rename(tmp_path / "gone")
    for where, missing in ((copy, False), (other, True), (tmp_path / "nowhere", True)):
        done = cli_here("report", "run", "--no-layers", "--data-dir", where, "--json")
        assert done.status == 0, done.err
        assert (done.json["missing"] is not None) == missing, where
    assert "images of the test split have changed" in cli_here("explain", "run", "test:1", "--data-dir", other).err
    assert cli_here("explain", "run", "test:1", "--data-dir", copy).status == 0


def test_merging_takes_a_copy_and_refuses_others(data: Path, cli_here: Cli, tmp_path: Path) -> None:
    alone = cli_here(*RUN, "--no-refit", "--out", "alone", "--json").json
    assert cli_here("cache", "clear").status == 0
    for number in (1, 2):
        words = ("--no-refit", "--batch-size", 8, "--shard", f"{number}/2", "--out", f"shard{number}")
        assert cli_here(*RUN, *words).status == 0
    copy, other = copied(data, other=False), copied(data, other=True)
    data.rename(tmp_path / "gone")
    refused = cli_here("merge", "shard1", "shard2", "--data-dir", other)
    assert refused.status == 1
    assert "1 of its images differ, such as" in refused.err.replace("\n", " ")
    done = cli_here("merge", "shard1", "shard2", "--data-dir", copy, "--out", "joined", "--json")
    assert done.status == 0, done.err
    assert done.json["selection"] == alone["selection"]
    assert done.json["accuracy"] == alone["accuracy"]


def test_changed_images_with_kept_times_are_others(data: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddeep.data.contents._SETTLED", -(10**15))  # or files this young would be read again anyway
    first = cli_here(*RUN, "--no-refit", "--out", "run", "--json").json
    file = data / "train" / "7" / "1.png"
    before, size = file.stat(), file.stat().st_size
    content = bytearray(file.read_bytes())
    other = save_picture(data.parent / "other.png", 998, SIDE, SIDE).read_bytes()
    content[:] = (other + bytes(size))[:size] if len(other) <= size else content
    file.write_bytes(content if len(other) <= size else bytes([*content[:-20], *reversed(content[-20:])]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (size, before.st_mtime_ns)
    for words in (("finetune", "run", "--epochs", 1), ("explain", "run", "train:3"), ("export", "run", "--to", "pt2")):
        refused = cli_here(*words)
        if words[0] != "export":
            assert refused.status == 1
            assert "images of the train split have changed" in " ".join(refused.err.split())
    file.unlink()
    file.write_bytes((data / "train" / "7" / "0.png").read_bytes())
    again = cli_here(*RUN, "--no-refit", "--out", "again", "--json").json
    assert again["hashes"]["train"] != first["hashes"]["train"]
    assert again["hashes"]["test"] == first["hashes"]["test"]
