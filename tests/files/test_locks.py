"""What killed processes leave is removed, what living ones hold is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddeep.errors import CacheError
from ddeep.evidence.response_cache import remove_leftovers
from ddeep.files.atomic import written_whole
from ddeep.files.cache import clear_cache
from ddeep.files.locks import hold, is_temporary, remove_dead, remove_temporaries, temporary_folder

WRITER = """
import sys, time
from pathlib import Path
from ddeep.files.atomic import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def writing(path: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing ``path``."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_the_next_write_removes_what_a_killed_one_has_left_and_spares_a_living_one(tmp_path: Path) -> None:
    dead, living = writing(tmp_path / "a.txt"), writing(tmp_path / "b.txt")
    try:
        kill(dead)
        assert len([path for path in tmp_path.iterdir() if is_temporary(path)]) == 2
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("whole")
        (left,) = [path for path in tmp_path.iterdir() if is_temporary(path)]
        assert (left / "inside" / "b.txt").read_text() == "half"
        assert (tmp_path / "a.txt").read_text() == "whole"
    finally:
        kill(living)
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("where", ["datasets", f"responses/{'0' * 32}"])
def test_the_cache_is_rid_of_what_killed_commands_left(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    for action, spared in ((remove_leftovers, True), (clear_cache, False)):
        (tmp_path / where).mkdir(parents=True, exist_ok=True)
        kept = "0-pillow-1.npy" if where == "datasets" else f"Counts-{'0' * 16}.safetensors"
        (tmp_path / where / kept).write_text("whole")
        dead, living = writing(tmp_path / where / "one"), writing(tmp_path / where / "other")
        try:
            kill(dead)
            action()
            assert [path.name for path in (tmp_path / where).glob("[!.]*")] == [kept] * spared
            assert len(list((tmp_path / where).glob(".ddeep-*.tmp"))) == 1
        finally:
            kill(living)


def test_passes_that_nobody_can_go_on_with_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    passes = tmp_path / "passes"
    whole, dead, living = "a" * 32, f"{'a' * 32}.{'d' * 12}", f"{'a' * 32}.{'e' * 12}"
    for name in (whole, dead, living, "some.one"):
        (passes / name).mkdir(parents=True)
    lock = hold(passes / living)
    assert lock is not None
    with lock:
        remove_leftovers()
    assert sorted(path.name for path in passes.iterdir()) == [whole, living, "some.one"]


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    lock = hold(tmp_path / "x")
    assert lock is not None
    assert hold(tmp_path / "x") is None
    assert not remove_dead(tmp_path / "x")
    lock.close()
    assert remove_dead(tmp_path / "x")


def test_a_strangers_lock_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    for name in ("link", "pipe"):
        (tmp_path / f".ddeep-{name}.tmp").mkdir()
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".ddeep-link.tmp" / "lock").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / ".ddeep-pipe.tmp" / "lock")
    (tmp_path / ".ddeep-whole.tmp").symlink_to(tmp_path)
    started = time.monotonic()
    remove_temporaries(tmp_path)
    assert time.monotonic() - started < 5
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (tmp_path / ".ddeep-pipe.tmp").exists()


def test_any_name_can_be_written(tmp_path: Path) -> None:
    for name in ("lock", "inside", ".ddeep-x.tmp", "x" * 255):
        with written_whole(tmp_path / name) as temporary:
            temporary.write_text(name)
        assert (tmp_path / name).read_text() == name
    with pytest.raises(CacheError, match="too long"), written_whole(tmp_path / ("x" * 256)) as temporary:
        temporary.write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ddeep-x.tmp", "inside", "lock", "x" * 255]


def test_without_locks_files_are_written_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network file systems."""

    def flock(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("ddeep.files.locks.fcntl.flock", flock)
    with temporary_folder(tmp_path) as other:
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("whole")
        assert other.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
