"""Shards: each may be empty, all join to the single pass, and a changed byte in any is named."""

from __future__ import annotations

import gc
import io
import json
import shutil
import tarfile
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.progress import Progress

from ddeep import console
from ddeep.data import pixel_cache
from ddeep.errors import ConfigError, DataError
from ddeep.evidence import passes
from ddeep.evidence import shards as shards_module
from ddeep.evidence.shards import read_facts, read_shards
from ddeep.files.sealed import read_sealed
from tests.support.documents import read_document
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders

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
    images = [(512, 256), (256 + 153, 108), (256,)]  # of 1,433 and 364, in batches of 256
    assert seen == [(count, count) for part in images for count in part]


def joined_by_twos(shards: list[Path], root: Path, cli_here: Cli) -> Path:
    """A tree: two at a time, the last first, until one is left."""
    level, waiting = 0, list(reversed(shards))
    while len(waiting) > 1:
        pairs, level = [waiting[at : at + 2] for at in range(0, len(waiting), 2)], level + 1
        waiting = []
        for number, pair in enumerate(pairs):
            done = cli_here("merge", *pair, "--into", root / f"{level}-{number}")
            assert done.status == 0, done.err
            waiting.append(root / f"{level}-{number}")
    return waiting[0]


def test_a_tree_of_merges_gives_the_single_pass(shards: list[Path], tmp_path: Path, cli_here: Cli) -> None:
    alone = cli_here(*RUN, "--out", tmp_path / "alone", "--json").json
    assert cli_here("cache", "clear").status == 0
    top = joined_by_twos(shards, tmp_path / "tree", cli_here)
    assert read_facts(top).numbers == [0, 1, 2, 3]
    assert cli_here("verify", top).status == 0
    joined = cli_here("merge", top, "--out", tmp_path / "joined", "--json")
    assert joined.status == 0, joined.err
    for part in SAME:
        assert joined.json[part] == alone[part]


def test_half_a_tree_goes_with_the_other_half_alone(shards: list[Path], tmp_path: Path, cli_here: Cli) -> None:
    half = joined_by_twos(shards[:2], tmp_path, cli_here)
    missing = cli_here("merge", half, shards[3])
    assert "Shard 3 of 4 is missing" in missing.err
    again = cli_here("merge", half, *shards[1:])
    assert "are both shard 2 of 4" in again.err
    both = cli_here("merge", half, *shards[2:], "--into", tmp_path / "x", "--out", tmp_path / "y")
    assert "give one of them" in both.err


def test_merging_holds_one_shard_at_a_time(
    shards: list[Path], tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    most, really = 0, shards_module.load_file

    def counted(path: Path) -> dict[str, torch.Tensor]:
        nonlocal most
        gc.collect()
        most = max(most, sum(one() is not None for one in held))
        tensors = really(path)
        held.append(weakref.ref(tensors["digests" if "digests" in tensors else "images"]))
        return tensors

    monkeypatch.setattr(shards_module, "load_file", counted)
    assert cli_here("merge", *shards, "--out", tmp_path / "joined").status == 0
    assert len(held) == 2 * SHARDS
    assert most == 0  # while one is read, none before it is held


def write_tars(folder: Path, *, side: int, tars: int = 3, each: int = 10) -> Path:
    """Digits' shapes in noise, ``tars`` to train on and one to test on, of ten classes."""
    folder.mkdir(parents=True)
    for number in range(tars + 1):
        name = f"d-train-{number:03}.tar" if number < tars else "d-val-000.tar"
        with tarfile.open(folder / name, "w") as tar:
            for at in range(each * number, each * (number + 1)):
                noise = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(at))
                made = io.BytesIO()
                Image.fromarray(noise.to(torch.uint8).numpy()).save(made, "png")
                for ending, content in (("png", made.getvalue()), ("cls", b"%d" % (at % 10))):
                    info = tarfile.TarInfo(f"{at:05}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder


TARS = ("run", "--model", "resnet20", "--weights", "resnet20-digits", "--strategy", "paper", "--k", "3", "--no-refit")


def test_each_tar_is_a_shard_and_only_what_lacks_is_gathered(
    tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tars = write_tars(tmp_path / "tars", side=32)
    words = (*TARS, "--dataset", f"wds:{tars}", "--batch-size", "16", "--device", "cpu")
    alone = cli_here(*words, "--out", tmp_path / "alone", "--json").json
    assert cli_here("cache", "clear").status == 0
    run, count = passes.run_share, 0

    def counted(*given: object) -> object:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt  # pre-empted in the second tar
        return run(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("ddeep.experiments.merge.run_share", counted)
    units = tmp_path / "units"
    assert cli_here(*words, "--shard", "files", "--out", units).status != 0
    assert [path.name for path in sorted(units.iterdir())] == ["0-d-train-000"]
    before = (units / "0-d-train-000" / "train.npy").stat().st_mtime_ns
    second = cli_here(*words, "--shard", "files:2/2", "--out", units, "--json")
    assert (second.json["gathered"], second.json["there"], second.json["of"]) == (2, 0, 4)
    rest = cli_here(*words, "--shard", "files", "--out", units, "--json")
    assert (rest.json["gathered"], rest.json["there"]) == (1, 3)
    assert count == 5
    assert (units / "0-d-train-000" / "train.npy").stat().st_mtime_ns == before
    assert not list((tmp_path / "cache").rglob("*.npy"))  # nothing was converted, no pass is left
    other = cli_here(*words, "--k", "4", "--shard", "files", "--out", units)
    assert "is a shard of another run" in other.err
    joined = cli_here("merge", units, "--out", tmp_path / "joined", "--json")
    assert joined.status == 0, joined.err
    for part in SAME:
        assert joined.json[part] == alone[part]
    assert joined.json["hashes"] == alone["hashes"]


def test_images_in_files_of_their_own_are_no_units(tmp_path: Path, cli_here: Cli) -> None:
    refused = cli_here(*RUN, "--shard", "files", "--out", tmp_path / "units")
    assert refused.status == 1
    assert "give --shard I/N" in refused.err.replace("Give", "give")


def test_a_shard_reads_no_image_of_another(tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are converted for whole runs; for a shard those of its batches are decoded, and no more."""
    for split in ("train", "test"):
        class_folders(tmp_path / "data" / split, {str(digit): 3 for digit in range(10)}, side=40)
    read: set[str] = set()
    really = pixel_cache.read_rgb

    def counted(path: Path) -> Image.Image:
        read.add(str(path))
        return really(path)

    monkeypatch.setattr("ddeep.data.decoding.read_rgb", counted)
    monkeypatch.setattr("ddeep.data.loader.default_workers", lambda _world=1: 0)
    words = (*TARS, "--dataset", "folder", "--data-dir", tmp_path / "data", "--batch-size", 10, "--device", "cpu")
    assert cli_here(*words, "--shard", "2/3", "--out", tmp_path / "shard").status == 0
    train = {path for path in read if "/train/" in path}
    assert len(train) == 10
    assert len(read) - len(train) <= 10 + 8  # and a few test images that show the network's parts
    assert not list((tmp_path / "cache" / "datasets").glob("*"))
    for number in (1, 3):
        assert cli_here(*words, "--shard", f"{number}/3", "--out", tmp_path / f"shard{number}").status == 0
    joined = cli_here("merge", tmp_path / "shard", *tmp_path.glob("shard?"), "--out", tmp_path / "joined", "--json")
    assert joined.status == 0, joined.err
    assert cli_here("cache", "clear").status == 0
    alone = cli_here(*words, "--out", tmp_path / "alone", "--json").json
    for part in (*SAME, "hashes"):
        assert joined.json[part] == alone[part]


def test_a_shard_of_the_schema_before_still_joins(shards: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from ddeep.experiments.merge import merge_into_shard
    from ddeep.files.sealed import write_sealed

    old = shutil.copytree(shards[0], tmp_path / "old")
    sealed = read_document(old / "shard.json")
    document = {**sealed, "schema": "ddeep.shard/1", "number": 0}
    for name in ("numbers", "by", "reductions"):
        del document[name]
    for split, count in (("train", 1433), ("test", 364)):
        tensors = load_file(old / f"{split}.safetensors")
        seen = torch.zeros(count, dtype=torch.bool)
        seen[tensors.pop("images")] = True
        tensors = {name.removeprefix("state."): tensor for name, tensor in tensors.items()}
        save_file({"seen": seen, **tensors}, old / f"{split}.safetensors")
    write_sealed(old / "shard.json", document, [p.name for p in old.iterdir() if p.name != "shard.json"])
    assert read_facts(old).numbers == [0]
    one, other = (shards_module.read_split(folder, "train") for folder in (old, shards[0]))
    assert torch.equal(one.images, other.images)
    assert one.states.keys() == other.states.keys()
    with pytest.raises(ConfigError, match="older ddeep"):
        merge_into_shard([old], tmp_path / "x")
