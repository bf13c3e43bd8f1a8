"""A power cut at any moment leaves the old or the new, whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.files.atomic import written_whole
from ddeep.files.sealed import write_sealed
from tests.robustness.faults.power import State, hash_of, recorded
from tests.support.helpers import Outcome

RUN = ("run", "--model", "resnet20", "--strategy", "contribution", "--device", "cpu", "--no-refit")


def write_file(root: Path) -> None:
    with written_whole(root / "file") as temporary:
        temporary.write_bytes(b"new")


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_is_the_old_or_the_new_one(old: bytes | None, tmp_path: Path) -> None:
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    found: list[State] = []
    with recorded(tmp_path, found.append):
        write_file(tmp_path)
    before: State = {} if old is None else {"file": hash_of(old)}
    assert found == [before, {"file": hash_of(b"new")}]


def test_a_folder_is_not_there_or_whole(tmp_path: Path) -> None:
    """Also where the folders above it are new."""
    found: list[State] = []
    with recorded(tmp_path, found.append), written_whole(tmp_path / "a" / "b" / "folder") as temporary:
        (temporary / "inside").mkdir(parents=True)
        (temporary / "inside" / "1").write_bytes(b"one")
        (temporary / "2").write_bytes(b"two")
    whole = {"inside/": "", "inside/1": hash_of(b"one"), "2": hash_of(b"two")}
    expected = {f"a/b/folder/{name}": content for name, content in whole.items()}
    assert found[-1] == {"a/": "", "a/b/": "", "a/b/folder/": "", **expected}
    for state in found:
        assert ("a/b/folder/" in state) == (state == found[-1])


def test_when_it_is_written_it_is_there(tmp_path: Path) -> None:
    """Else a second file could survive that was written after it."""
    found: list[State] = []
    with recorded(tmp_path, found.append):
        write_sealed(tmp_path / "x" / "first.json", {})
        write_sealed(tmp_path / "second.json", {})
    assert all("x/first.json" in state for state in found if "second.json" in state)


def test_the_play_sees_what_is_lost_without_syncing(tmp_path: Path) -> None:
    """Else it could never fail."""
    (tmp_path / "file").write_bytes(b"old")
    found: list[State] = []
    with recorded(tmp_path, found.append, sync=False):
        write_file(tmp_path)
    assert {"file": "torn"} in found
    assert {"file": hash_of(b"")} in found


def test_a_run_leaves_whole_results_and_whole_entries(
    tmp_path: Path, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever bears a final name, in the run and in the cache, is as it is at the end."""
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    found: list[State] = []
    with recorded(tmp_path, found.append):
        assert cli_here(*RUN, "--out", "out").status == 0
    final, run = found[-1], [path for path in found[-1] if path.startswith("out/")]
    assert len(run) == 5
    assert len([path for path in final if path.endswith("responses.npy")]) == 2
    for state in found:
        assert [path for path in state if state[path] != final[path]] == []
        assert sum(path in state for path in run) in (0, len(run))
