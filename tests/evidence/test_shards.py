"""Shards: each may be empty, all join to the single pass, and a changed byte in any is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.progress import Progress

from ddeep import console
from ddeep.errors import DataError
from ddeep.evidence.shards import read_facts, read_shards
from ddeep.files.sealed import read_sealed
from tests.support.documents import read_document
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]
RUN = ("run", "--model", "resnet20", "--strategy", "paper", "--device", "cpu", "--no-refit")
SAME = ("accuracy", "accuracy_present", "selection", "per_class", "metrics")
SHARDS = 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All shards of a run on the digits; the last two have no test images."""
    from ddeep.experiments.merge import gather_shard
    from ddeep.experiments.settings import RunConfig

    root = tmp_path_factory.mktemp("shards")
    config = RunConfig(model="resnet20", strategy="paper", device="cpu", no_refit=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDEEP_CACHE", str(root / "cache"))
        for number in range(SHARDS):
            gather_shard(config, number, SHARDS, root / f"shard{number}")
    return [root / f"shard{number}" for number in range(SHARDS)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


def test_shards_without_images_join_to_the_single_pass(shards: list[Path], tmp_path: Path, cli_here: Cli) -> None:
    alone = cli_here(*RUN, "--out", tmp_path / "alone", "--json").json
    assert cli_here("cache", "clear").status == 0
    joined = cli_here("merge", *shards, "--out", tmp_path / "joined", "--json")
    assert joined.status == 0, joined.err
    for part in SAME:
        assert joined.json[part] == alone[part]


def test_more_shards_than_batches_are_asked_for_on_the_command_line(tmp_path: Path, cli_here: Cli) -> None:
    done = cli_here(*RUN, "--shard", "9/9", "--out", tmp_path / "shard")
    assert done.status == 0, done.err
    assert read_facts(tmp_path / "shard").filters == 64


@pytest.mark.parametrize("name", ["train.npy", "train.safetensors", "test.npy", "test.safetensors"])
def test_a_flipped_bit_in_any_file_is_named(name: str, shards: list[Path], tmp_path: Path, cli_here: Cli) -> None:
    damaged = shutil.copytree(shards[0], tmp_path / "damaged")
    content = bytearray((damaged / name).read_bytes())
    content[-5] ^= 1  # a number: the file reads as well as before
    (damaged / name).write_bytes(content)
    refused = cli_here("merge", damaged, *shards[1:])
    assert refused.status == 1
    assert f"The shard {damaged} is damaged: {name} is not what was written" in refused.err
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_an_edited_document_is_noticed(shards: list[Path], tmp_path: Path) -> None:
    damaged = shutil.copytree(shards[0], tmp_path / "damaged")
    text = (damaged / "shard.json").read_text()
    (damaged / "shard.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match="changed since"):
        read_shards([damaged, *shards[1:]])


def test_a_shard_vouches_for_all_its_files(shards: list[Path]) -> None:
    for shard in shards:
        sealed = read_sealed(shard / "shard.json")
        assert {"shard.json", *(sealed.files or ())} == {path.name for path in shard.iterdir()}
        assert json.loads(json.dumps(read_document(shard / "shard.json"))) == sealed.document


def test_progress_ends_at_the_shards_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_here: Cli) -> None:
    seen: list[tuple[int, float | None]] = []

    class Recorded(Progress):
        def stop(self) -> None:
            seen.extend((int(task.completed), task.total) for task in self.tasks)
            super().stop()

    monkeypatch.setattr("rich.progress.Progress", Recorded)
    monkeypatch.setattr(console, "_is_terminal", lambda name: name == "stderr")
    for number in (1, 2, 4):
        assert cli_here(*RUN, "--shard", f"{number}/4", "--out", tmp_path / f"shard{number}").status == 0
    images = [(512, 256), (256 + 153, 108), (256, 0)]  # of 1,433 and 364, in batches of 256
    assert seen == [(count, count) for part in images for count in part]
