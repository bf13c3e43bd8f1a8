"""The folder of a result: none is taken from another, and no work is lost where two want one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.errors import CacheError
from ddeep.files.paths import default_out
from ddeep.results.folder import save_result
from tests.support.helpers import Outcome


def test_two_results_in_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-000000")
    first = default_out("compare", "timm/resnet18", "digits")
    assert first == Path("runs/20260101-000000-compare-timm-resnet18-digits")
    first.mkdir(parents=True)
    assert default_out("compare", "timm/resnet18", "digits") == first.with_name(f"{first.name}-2")


def test_what_was_taken_meanwhile_is_not_overwritten(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:  # noqa: ARG001
    out = tmp_path / "out"

    def write(folder: Path) -> None:
        (folder / "result").write_text("mine")
        if not out.exists():  # another command is quicker
            out.mkdir()
            (out / "result").write_text("another's")

    assert save_result(out, write) == tmp_path / "out-2"
    assert (out / "result").read_text() == "another's"
    assert (tmp_path / "out-2" / "result").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-2"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder))

    with pytest.raises(CacheError, match="No space left"):
        save_result(tmp_path / "out", write)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_called_new_is_in_nobodys_way(cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "runs" / "new").mkdir(parents=True)
    (tmp_path / "runs" / "new" / "mine").write_text("kept")
    done = cli_here("run", "--model", "resnet20", "--strategy", "weight", "--k", 3, "--no-refit")
    assert done.status == 0, done.err
    assert (tmp_path / "runs" / "new" / "mine").read_text() == "kept"
    assert len(list((tmp_path / "runs").iterdir())) == 2
