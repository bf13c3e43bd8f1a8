"""Several real processes give what one gives, and fail together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ddeep.cli import main
from ddeep.evidence import processes
from ddeep.files.atomic import new_rows
from ddeep.registry.registry import registry
from tests.support.helpers import Outcome
from tests.support.ranks import ranks
from tests.support.waiting import PATIENCE

SAME = ("accuracy", "accuracy_present", "selection", "per_class")
TRAIN, TEST = 37, 11  # of each class: numbers that no number of processes divides


@pytest.fixture(scope="module")
def few_images(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few real CIFAR-10 images of every class, and the paper's checkpoint."""
    data = tmp_path_factory.mktemp("few")
    for split, count in (("train", TRAIN), ("test", TEST)):
        for folder in sorted((real_data("cifar10") / split).iterdir()):
            (data / "cifar10" / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, data / "cifar10" / split / folder.name)
    shutil.copytree(real_data("weights"), data / "weights")
    return data


def arguments(data: Path, out: Path, *more: object) -> list[str]:
    given = ["run", "--model", "resnet20", "--strategy", "paper", "--dataset", "cifar10", "--data-dir", data]
    return [str(word) for word in [*given, "--batch-size", 32, "--device", "cpu", "--json", "--out", out, *more]]


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Outcome]]:
    """``launch(3, words, cache)`` runs ``ddeep`` in three processes, one in this very one, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:

        def run(processes: int, words: list[str], cache: Path) -> Outcome:
            registry.cache_clear()
            patch.setattr(sys, "argv", ["ddeep", *words])
            patch.setenv("DDEEP_CACHE", str(cache))
            if processes > 1:
                return ranks(processes, main, cache.with_suffix(".said"))
            with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
                status = main()
            return Outcome(status, out.getvalue(), err.getvalue())

        yield run
    registry.cache_clear()


@pytest.fixture(scope="module")
def alone(
    few_images: Path, tmp_path_factory: pytest.TempPathFactory, launch: Callable[..., Outcome]
) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("alone")
    return document(launch(1, arguments(few_images, folder / "out"), folder / "cache"))


def document(outcome: Outcome) -> dict[str, object]:
    assert outcome.status == 0, outcome.err
    found: dict[str, object] = json.loads(outcome.out)
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_agree_with_one(
    processes: int, few_images: Path, alone: dict[str, object], tmp_path: Path, launch: Callable[..., Outcome]
) -> None:
    together = document(launch(processes, arguments(few_images, tmp_path / "out"), tmp_path / "cache"))
    for part in SAME:
        assert together[part] == alone[part]
    one, many = alone["metrics"], together["metrics"]
    assert many["class_selectivity"] == pytest.approx(one["class_selectivity"], rel=1e-9)  # type: ignore[index]
    assert many["pmi"] == pytest.approx(one["pmi"], rel=1e-9)  # type: ignore[index]
    assert many["psi"]["per_class_mean"] == pytest.approx(one["psi"]["per_class_mean"], rel=1e-9)  # type: ignore[index]
    assert (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("compare", ["--strategies", "paper,contrast,firing-rate,roc-auc", "--k", "3", "--no-refit"]),
        ("measure", ["--layers", "layer?.2", "--metrics", "psi,class-selectivity,class-independence"]),
    ],
)
def test_comparing_and_measuring_agree_with_one(
    command: str, options: list[str], few_images: Path, tmp_path: Path, launch: Callable[..., Outcome]
) -> None:
    common = ["--model", "resnet20", "--dataset", "cifar10", "--data-dir", str(few_images), "--batch-size", "32"]
    words = [command, *common, "--device", "cpu", "--json", *options]
    one, two = (
        document(launch(number, [*words, "--out", str(tmp_path / f"out{number}")], tmp_path / f"cache{number}"))
        for number in (1, 2)
    )
    rows = "rows" if command == "compare" else "layers"
    assert len(one[rows]) == (4 if command == "compare" else 3)  # type: ignore[arg-type]
    assert_close(one[rows], two[rows])


def assert_close(one: object, other: object) -> None:
    """The same, numbers to 1e-9; what was timed does not count."""
    if isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_close(one[key], other[key])
    elif isinstance(one, list):
        assert isinstance(other, list)
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_close(mine, theirs)
    else:
        assert other == (pytest.approx(one, rel=1e-9) if isinstance(one, float) else one)


@pytest.mark.parametrize("files", ["one machine", "shared", "apart"])
def test_rows_are_sent_only_where_the_file_is_not_seen(files: str, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    done = ranks(3, lambda: collect(folder, files), tmp_path / "said")
    assert done.status == 0, done.err


def collect(folder: Path, files: str) -> int:
    """One process of three that have seen every third row each; asserts what came of it, and what was sent."""
    dist.init_process_group("gloo")
    me, sent, really = dist.get_rank(), [0], dist.send

    def counted(tensor: Tensor, dst: int) -> None:
        sent.append(tensor.nbytes)
        really(tensor, dst)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "send", counted)
        patch.setattr(processes, "ROWS_AT_ONCE", 4)
        if files != "one machine":
            patch.setattr(processes, "_identity", lambda path: (str(path), None))
        if files == "apart":  # so that rank 0 looks where nobody has written
            patch.setattr(processes, "_mark", lambda path: path.with_name(f"{me}.mark"))
        seen = torch.arange(20) % 3 == me
        path = folder / f"{me}.npy"
        rows = torch.from_numpy(new_rows(path, 20, 5))
        rows[seen] = torch.arange(20.0)[seen][:, None] + torch.arange(5) / 10
        processes.collect_rows(seen, rows, path, torch.device("cpu"))
    if me == 0:
        assert torch.equal(rows, torch.arange(20.0)[:, None] + torch.arange(5) / 10)
    assert [file.suffix for file in folder.iterdir() if file.stem == str(me)] == [".npy"]
    assert sum(sent) == (0 if files != "apart" or me == 0 else int(seen.sum()) * (5 * 4 + 8)), sent
    dist.destroy_process_group()
    return 0


def test_more_processes_than_batches(few_images: Path, tmp_path: Path, launch: Callable[..., Outcome]) -> None:
    words = arguments(few_images, tmp_path / "out", "--batch-size", 300)
    together = document(launch(3, words, tmp_path / "cache"))
    single = document(launch(1, arguments(few_images, tmp_path / "one", "--batch-size", 300), tmp_path / "other"))
    for part in SAME:
        assert together[part] == single[part]


def test_what_one_process_cannot_read_ends_all_with_its_message(few_images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_images, data)
    # Files stay on disk with this dataset, so the damaged one is met in the pass, by the process whose batch it is in.
    for split in ("train", "test"):
        shutil.move(data / "cifar10" / split, data / split)
    victim = sorted((data / "train" / "airplane").iterdir())[35]  # in batch 1, which is process 1's
    victim.write_bytes(b"not an image")
    words = [
        "train" if word == "run" else word
        for word in arguments(data, tmp_path / "out", "--mean", "0.5", "--std", "0.5", "--weights", weights(data))
    ]
    words[0], words[words.index("cifar10")] = "run", "folder"
    # By torchrun itself: it ends the others where one has failed.
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ddeep", *words]
    env = {**os.environ, "DDEEP_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(start, env=env, capture_output=True, encoding="utf-8", timeout=PATIENCE)
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.status == 1
    told = [line for line in outcome.err.splitlines() if line.startswith("error:")]
    assert len(told) == 1
    assert victim.name in told[0]
    assert "Process 1 of 2" in told[0]
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


def weights(data: Path) -> Path:
    return next((data / "weights").iterdir())


def test_shards_join_to_the_single_pass(
    few_images: Path, alone: dict[str, object], tmp_path: Path, launch: Callable[..., Outcome]
) -> None:
    shards = [tmp_path / f"shard{number}" for number in (1, 2, 3)]
    for number, shard in enumerate(shards, 1):
        words = arguments(few_images, shard, "--shard", f"{number}/3")
        assert launch(1, words, tmp_path / "cache").status == 0
    missing = launch(1, ["merge", str(shards[0]), str(shards[2])], tmp_path / "other")
    assert missing.status == 1
    assert "Shard 2 of 3 is missing" in missing.err
    twice = launch(1, ["merge", *map(str, [*shards, shards[1]])], tmp_path / "other")
    assert twice.status == 1
    assert "Give each once" in twice.err
    words = ["merge", *map(str, reversed(shards)), "--json", "--out", str(tmp_path / "out")]
    joined = document(launch(1, words, tmp_path / "other"))
    for part in SAME:
        assert joined[part] == alone[part]
    assert (tmp_path / "out" / "selection.json").exists()


def test_a_damaged_shard_is_named(few_images: Path, tmp_path: Path, launch: Callable[..., Outcome]) -> None:
    shards = [tmp_path / f"shard{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        assert launch(1, arguments(few_images, shard, "--shard", f"{number}/2"), tmp_path / "cache").status == 0
    states = shards[1] / "test.safetensors"
    states.write_bytes(states.read_bytes()[:-100])
    outcome = launch(1, ["merge", *map(str, shards)], tmp_path / "other")
    assert outcome.status == 1
    assert str(shards[1]) in outcome.err
    assert "Traceback" not in outcome.err
