"""Faults injected for real: full disks, commands side by side, Ctrl-C in a pass, damage."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ddeep.errors import CacheError
from ddeep.evidence import resume as partial_module
from ddeep.evidence.resume import PartialPass
from ddeep.files import locks
from ddeep.files.atomic import new_rows, written_whole
from ddeep.networks.layer import Layer
from tests.robustness.faults.commands import Place, lost, selection_of
from tests.support.paths import ROOT

LAYER = Layer("layer3.2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where one run went well."""
    place = Place(tmp_path_factory.mktemp("whole"))
    status, said = place.run("out")
    assert status == 0, said
    return place


@pytest.mark.parametrize("count", [2, 8])
def test_commands_at_once_share_a_cache_and_an_output(count: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.faults.crowd", str(count), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{count} commands at once: {count} outputs, 0 problems"


def test_a_disk_that_fills_up_leaves_nothing_half() -> None:
    mounts = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*mounts, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    done = subprocess.run(
        [*mounts, sys.executable, "-m", "tests.robustness.faults.full", "--sizes", "2", "--only", "run"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "2 full disks, 0 problems"


def limited(size: int) -> Callable[[], None]:
    """For a child process: no file may grow beyond ``size`` bytes, as if the disk were full there."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [0, 100_000, 700_000])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing_half(whole: Place, tmp_path: Path, size: int) -> None:
    """The limit strikes the first file of all, the responses, and the model, in this order."""
    place = Place(tmp_path)
    status, said = place.run("out", preexec_fn=limited(size))
    assert status == 1, said
    lines = [line for line in said.splitlines() if not line.startswith(("warning: ", "Images: "))]
    assert len(lines) == 1, said
    assert lines[0].startswith("error: Cannot write")
    assert not (tmp_path / "out").exists()
    assert lost(place, ()) == []
    status, said = place.run("out")
    assert status == 0, said
    assert selection_of(tmp_path / "out") == selection_of(whole.folder / "out")


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    place = Place(tmp_path)
    process = place.start("out")
    passes = place.cache / "passes"
    until(lambda: process.poll() is not None or any(passes.glob("*/*.npy")))
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert [line for line in said.splitlines() if not line.startswith(("warning: ", "Images: "))] == ["Interrupted."]
    assert not (tmp_path / "out").exists()


def until(ready: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_rows_take_their_space_at_once(tmp_path: Path) -> None:
    rows = new_rows(tmp_path / "rows.npy", 1000, 64)
    assert rows.shape == (1000, 64)
    assert not rows.any()
    status = (tmp_path / "rows.npy").stat()
    assert status.st_blocks * 512 >= rows.nbytes, "a sparse file: writing to it may kill the process"
    assert new_rows(tmp_path / "none.npy", 0, 64).shape == (0, 64)


def test_what_a_killed_pass_left_is_not_trusted_without_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support.toys import CLASSES, FILTERS, batched, pictures, pooled, toy

    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(partial_module, "SAVE_EVERY", 0.0)
    from ddeep.evidence.collector import Collector

    images, labels = pictures(40)
    batches, layer, key = batched(images, labels, 10), Layer("relu"), {"some": "pass"}

    def gathering(partial: PartialPass) -> Collector:
        keep = lambda one, filters: partial.rows(one, 40, filters)  # noqa: E731
        return Collector(toy(), {layer: []}, classes=CLASSES, device=torch.device("cpu"), keep=keep)

    def interrupted() -> Path:
        with PartialPass(key) as partial:
            made, seen = gathering(partial), torch.zeros(40, dtype=torch.bool)
            made.run(batches[:2])
            seen[:20] = True
            partial.save_now_and_then(2, seen, made)
            raise KeyboardInterrupt

    for damage in ("none", "missing", "short"):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        (rows,) = (tmp_path / "passes").glob("*/*.npy")
        if damage == "missing":
            rows.unlink()
        if damage == "short":
            os.truncate(rows, rows.stat().st_size - 100)
        with PartialPass(key) as partial:
            made, seen = gathering(partial), torch.zeros(40, dtype=torch.bool)
            done = partial.resume(made, seen)
            assert done == (2 if damage == "none" else 0)
            assert int(seen.sum()) == 10 * done
            assert ("is of no use" in capsys.readouterr().err) == (damage != "none")
            responses = made.run(batches[done:]).finish("train")[layer].responses
            assert responses is not None
            torch.testing.assert_close(responses, pooled(toy(), images))
            assert responses.shape == (40, FILTERS)


def test_a_lock_whose_folder_was_removed_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command may finish, and remove the folder, between opening the lock and holding it."""
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    real, removed = locks.fcntl.flock, []

    def flock(file: object, how: int) -> None:
        if not removed:
            removed.append(True)
            (folder,) = (tmp_path / "passes").iterdir()
            (folder / "lock").unlink()
            folder.rmdir()
        real(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with PartialPass({"some": "pass"}) as partial:
        assert removed
        partial.rows(LAYER, 3, 2)
        assert partial.path(LAYER).exists()


def test_a_cache_that_cannot_be_written_says_how_to_put_it_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"Cannot write to the cache.*Not a directory.*DDEEP_CACHE"):
        PartialPass({"some": "pass"})


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no")])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"old": 1}))

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_text('{"half')
            raise error

    with pytest.raises((CacheError, KeyboardInterrupt, ValueError)):
        fail()
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_cache_is_noticed_by_the_next_command(whole: Place) -> None:
    """Last of all, because it damages the place that the others compare with."""
    for rows in whole.cache.glob("responses/*/responses/responses.npy"):
        damaged = np.load(rows)
        damaged[0, 0] += 1
        np.save(rows, damaged)
    status, said = whole.run("out-2")
    assert status == 0
    assert said.count("cannot be trusted") == 2
    assert selection_of(whole.folder / "out-2") == selection_of(whole.folder / "out")


def test_the_harness_sees_what_is_lost(tmp_path: Path) -> None:
    """Else it could never fail."""
    place = Place(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{")
    folder = place.cache / "responses" / "x" / "responses"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text('{"sha256": "0"}')
    np.save(folder / "responses.npy", np.zeros((2, 2), np.float32))
    assert len(lost(place, ())) == 2
