"""The same images elsewhere will do for a report and for merging; others will not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.helpers import Outcome
from tests.support.pictures import class_folders, save_picture

Cli = Callable[..., Outcome]
RUN = ("run", "--model", "resnet20", "--weights", "resnet20-digits", "--dataset", "folder", "--strategy", "weight")
SIDE = 72  # not converted: known by names, sizes, times and a look inside


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
    assert "from another network, test split" in refused.err
    done = cli_here("merge", "shard1", "shard2", "--data-dir", copy, "--out", "joined", "--json")
    assert done.status == 0, done.err
    assert done.json["selection"] == alone["selection"]
    assert done.json["accuracy"] == alone["accuracy"]
