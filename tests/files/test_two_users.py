"""A cache of another user's: read where it may be, and called what it is where it may not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ddeep.errors import CacheError
from ddeep.files.cache import MARKER, clear_cache
from ddeep.files.paths import cache_root, cache_writing
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be two users")


@contextmanager
def another_user() -> Iterator[None]:
    """As somebody who owns nothing here."""
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one entry of the first user's, where others may look."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    root = tmp_path / "cache"
    entry = root / "responses" / ("0" * 32)
    entry.mkdir(parents=True)
    (entry / "probe.safetensors").write_bytes(b"1234")
    (root / MARKER).write_text("ddeep.cache/1\n")
    monkeypatch.setenv("DDEEP_CACHE", str(root))
    return root


def test_what_another_user_may_not_remove_is_told(root: Path) -> None:
    with another_user():
        cleared = clear_cache()
    entry = root / "responses" / ("0" * 32) / "probe.safetensors"
    assert (cleared.freed, cleared.denied, cleared.kept) == (0, [entry], [])
    assert entry.exists()
    assert clear_cache().freed == 4


def test_a_cache_that_may_not_be_written_is_no_full_disk(root: Path) -> None:
    with another_user(), pytest.raises(CacheError) as told, cache_writing(root / "new"):
        (root / "new").mkdir()
    assert str(told.value) == (
        f"Cannot write to the cache, {root / 'new'}: Permission denied. "
        "It is another user's, or may only be read: set DDEEP_CACHE to a folder of your own."
    )


def test_a_cache_that_may_not_be_read_is_said_to_be_so(root: Path) -> None:
    root.chmod(0o700)
    assert cache_root() == root
    with another_user(), pytest.raises(CacheError, match="may not be read"):
        cache_root()


def test_clearing_says_what_stays(root: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", denied)  # as that user the command line could not be imported
    done = cli_here("cache", "clear", "--json")
    assert done.json["freed"] == 0
    assert done.json["denied"] == [str(root / "responses" / ("0" * 32) / "probe.safetensors")]
    assert "1 files there may not be removed by this user and stay" in done.err
