"""Files have the modes that the umask leaves; what one user may not read is called that, and stays."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ddeep.errors import CacheError
from ddeep.evidence.response_cache import CacheEntry
from ddeep.evidence.resume import PartialPass
from ddeep.statistics.basic import TopCounts
from tests.support.batches import batch_of
from tests.support.helpers import Outcome
from tests.support.users import open_folder, somebody_else, umask

RUN = ("run", "--model", "resnet20", "--strategy", "contribution", "--device", "cpu", "--no-refit")
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_modes_follow_the_umask(
    mask: int, tmp_path: Path, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    with umask(mask):
        assert cli_here(*RUN, "--out", "out").status == 0
    written = [path for folder in ("out", "cache") for path in (tmp_path / folder).rglob("*")]
    assert {path.suffix for path in written} >= {".json", ".npy", ".safetensors"}
    for path in written:
        expected = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) & 0o777 == expected, path


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of several users, the cache in it."""
    with open_folder() as folder:
        monkeypatch.setenv("DDEEP_CACHE", str(folder / "cache"))
        yield folder


def filled(folder: Path) -> CacheEntry:
    entry, statistic = CacheEntry({"model": "toy"}), TopCounts(2)
    np.save(folder / "rows.npy", ROWS)
    entry.adopt(folder / "rows.npy")
    statistic.start(4, 3, "cpu")
    statistic.update(batch_of(torch.randn(9, 3), torch.arange(9) % 4, 4))
    entry.save(statistic, 3)
    return entry


def test_a_second_user_reads_what_the_first_has_gathered(shared: Path) -> None:
    with umask(0o022):
        entry = filled(shared)
    with somebody_else():
        found = entry.responses()
        assert found is not None
        assert np.array_equal(found.numpy(), ROWS)
        assert entry.load(TopCounts(2), 4) == 3


def test_what_may_not_be_read_is_called_that_and_stays(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with umask(0o022):
        entry = filled(shared)
    files = [path for path in entry.folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0)
    with somebody_else():
        assert entry.responses() is None
        assert entry.load(TopCounts(2), 4) is None
    said = capsys.readouterr().err
    assert said.count("may not be read by this user (permission denied)") == 2
    assert "cannot be trusted" not in said
    assert all(path.exists() for path in files)


def test_a_cache_of_somebody_else_says_so(shared: Path) -> None:
    with umask(0o022):
        filled(shared)
        PartialPass({"some": "pass"}).__exit__(None)
    with somebody_else():
        if not _may_write(shared / "cache" / "passes"):
            with pytest.raises(CacheError, match=r"Cannot write to the cache.*Permission denied.*DDEEP_CACHE"):
                PartialPass({"some": "pass"})


def _may_write(folder: Path) -> bool:
    try:
        (folder / "probe").mkdir()
    except PermissionError:
        return False
    (folder / "probe").rmdir()
    return True
