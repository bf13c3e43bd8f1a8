"""Clearing the cache removes what ddeep has made and nothing else, wherever ``DDEEP_CACHE`` points."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddeep.errors import CacheError
from ddeep.files.cache import MARKER, cache_part, clear_cache, size_of

NAME = "0" * 32
STATE = f"ClassCounts-{'0' * 16}.safetensors"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path: Path, content: bytes = b"12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_new_cache_is_marked_and_its_marks_outlive_clearing(root: Path) -> None:
    assert cache_part("responses") == root / "responses"
    assert (root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    write(root / "responses" / NAME / STATE)
    assert clear_cache().freed == 5
    assert {path.name for path in root.iterdir()} == {"CACHEDIR.TAG", MARKER, "responses"}


def test_a_cache_from_before_the_mark_is_cleared(root: Path) -> None:
    write(root / "datasets" / "ab-pillow-11.0.npy")
    write(root / "responses" / NAME / "responses" / "responses.npy")
    write(root / "responses" / NAME / "responses" / "about.json")
    assert clear_cache().freed == 15
    assert not list((root / "responses").iterdir())


@pytest.mark.parametrize("theirs", ["datasets/photos/a.png", "thesis.tex", "passes/abc/x", "responses/mine.npy"])
def test_a_strangers_folder_is_not_cleared(root: Path, theirs: str) -> None:
    mine = write(root / theirs)
    ours = write(root / "responses" / NAME / STATE)
    cache_part("responses")
    assert not (root / MARKER).exists(), "backups would leave the stranger's files out"
    assert not (root / "CACHEDIR.TAG").exists()
    with pytest.raises(CacheError, match=r"is not ddeep's own: it holds .*Nothing has been removed"):
        clear_cache()
    assert mine.exists()
    assert ours.exists()


@pytest.mark.parametrize(
    "theirs", ["datasets/photos/a.png", "thesis.tex", "passes/abc/x", f"responses/{NAME}/notes.txt", "datasets/b.npy"]
)
def test_what_was_put_into_a_cache_later_stays(root: Path, theirs: str) -> None:
    cache_part("responses")
    ours = write(root / "responses" / NAME / STATE)
    mine = write(root / theirs)
    cleared = clear_cache()
    assert mine.read_bytes() == b"12345"
    assert not ours.exists()
    assert cleared.freed == 5
    assert len(cleared.kept) == 1
    assert mine.is_relative_to(cleared.kept[0])


@pytest.mark.parametrize(
    "link", ["responses", "datasets", "passes", f"responses/{NAME}", f"responses/{NAME}/responses", f"passes/{NAME}"]
)
def test_links_are_not_followed(root: Path, link: str, tmp_path: Path) -> None:
    """Their targets hold files of the very names that clearing removes."""
    cache_part("responses").rmdir()
    elsewhere = tmp_path / "elsewhere"
    for inside in ("responses.npy", STATE, f"{NAME}/responses/responses.npy", "ab-pillow-1.npy", f"{NAME}/lock"):
        write(elsewhere / inside)
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(elsewhere, target_is_directory=True)
    before = size_of(elsewhere)
    cleared = clear_cache()
    assert size_of(elsewhere) == before == 25
    assert cleared.freed == 0
    assert (root / link).is_symlink()


def test_what_it_frees_is_what_is_gone(root: Path, tmp_path: Path) -> None:
    """A file with a second name elsewhere frees nothing, and a link has no size of its target."""
    cache_part("responses")
    first = write(root / "responses" / NAME / STATE)
    second = write(root / "responses" / NAME / f"Other-{'0' * 16}.safetensors")
    os.link(first, tmp_path / "second name")
    (root / "responses" / NAME / f"Third-{'0' * 16}.safetensors").symlink_to(second)
    assert size_of(root / "responses") == 5
    assert clear_cache().freed == 5
    assert (tmp_path / "second name").read_bytes() == b"12345"
