"""Files are known by what they hold. Their times only say whether they must be read to know it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ddeep.data import contents
from ddeep.data.class_folders import open_class_folders
from ddeep.data.contents import Contents, hash_file, read_table
from ddeep.data.images import FileImages, part_of
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
from tests.support import pictures

RECIPE = Preprocessing((0.5,) * 3, (0.5,) * 3, 8, 8)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_SETTLED", -(10**15))  # files of a moment ago count as at rest
    return pictures.class_folders(tmp_path / "root", {"a": 3, "b": 2}, suffix="bmp")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files hashed since, in this process."""
    seen: list[str] = []

    def counted(path: Path) -> np.ndarray:
        seen.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(contents, "hash_file", counted)
    return seen


def rewritten(path: Path, seed: int) -> None:
    """Another picture of the same size in bytes, under the same times."""
    before = path.stat()
    pictures.save_picture(path, seed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_hash_is_what_sha256_of_the_file_begins_with(root: Path) -> None:
    path = root / "a" / "0.bmp"
    assert bytes(hash_file(path)) == hashlib.sha256(path.read_bytes()).digest()[:16]
    assert bytes(hash_file(root)) == bytes(hash_file(root / "absent")) == b"\xff" * 16


def test_files_at_rest_are_read_once(root: Path, reads: list[str]) -> None:
    first = open_class_folders(root).content_hash
    assert len(reads) == 5
    assert open_class_folders(root).content_hash == first
    assert len(reads) == 5
    os.utime(root / "b" / "1.bmp", ns=(0, 0))
    assert open_class_folders(root).content_hash == first
    assert reads[5:] == ["1.bmp"]


def test_a_change_with_kept_times_is_seen(root: Path, reads: list[str]) -> None:
    first = open_class_folders(root).content_hash
    rewritten(root / "a" / "2.bmp", 99)
    assert open_class_folders(root).content_hash != first
    assert reads[5:] == ["2.bmp"]


def test_a_copy_elsewhere_is_the_same_and_read_once(root: Path, tmp_path: Path, reads: list[str]) -> None:
    first = open_class_folders(root)
    assert not first.contents.seen
    hashed = first.content_hash
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    for _ in range(2):
        assert open_class_folders(copy).contents.seen
        assert open_class_folders(copy).content_hash == hashed
        assert open_class_folders(root).content_hash == hashed
    assert len(reads) == 10


def test_files_changed_a_moment_ago_are_read_again(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_SETTLED", 10**15)
    for _ in range(2):
        open_class_folders(root).content_hash  # noqa: B018 - it reads
    assert len(reads) == 10


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_hashes_what_it_decodes(root: Path, reads: list[str], workers: int) -> None:
    expected = FileImages(list(open_class_folders(root).files), torch.tensor([0, 0, 0, 1, 1]), ("a", "b")).content_hash
    shutil.rmtree(Path(os.environ["DDEEP_CACHE"]))
    images = open_class_folders(root)
    (root / "a" / "1.bmp").write_bytes(b"no picture")  # after it was listed: what is read counts
    del reads[:]
    for _ in Loader(images, RECIPE, 2, workers=workers, skip_bad=True):
        pass
    assert len(images.contents.missing) == 0
    assert images.content_hash != expected
    assert reads == []
    assert open_class_folders(root).content_hash == images.content_hash


def test_what_is_known_of_some_is_kept_and_completed(root: Path, reads: list[str]) -> None:
    some = open_class_folders(root)
    some.contents.complete(torch.tensor([True, False, False, True, False]))
    assert len(reads) == 2
    for _ in range(2):
        again = open_class_folders(root)
        assert again.contents.seen
        again.content_hash  # noqa: B018 - it reads the rest
    assert len(reads) == 5


def test_a_part_knows_what_the_whole_knows(root: Path, reads: list[str]) -> None:
    images = open_class_folders(root)
    images.content_hash  # noqa: B018 - it reads
    part = part_of(images, torch.tensor([4, 1]), torch.tensor([1, 0]), ("a", "b"))
    same = FileImages([root / "b" / "1.bmp", root / "a" / "1.bmp"], torch.tensor([1, 0]), ("a", "b"))
    assert part.content_hash == same.content_hash
    assert len(reads) == 7


def test_a_damaged_table_is_made_anew(root: Path, reads: list[str]) -> None:
    first = open_class_folders(root).content_hash
    (table,) = (Path(os.environ["DDEEP_CACHE"]) / "contents").iterdir()
    read_table(table)
    whole = table.read_bytes()
    flipped = whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:]
    for damaged in (b"", whole[:50], whole[:-3], b"\xff" * len(whole), flipped):
        table.write_bytes(damaged)
        with pytest.raises(ValueError):  # noqa: PT011 - what safetensors says of it
            read_table(table)
        assert open_class_folders(root).content_hash == first
        assert table.read_bytes() == whole
    assert len(reads) == 30


def test_a_file_that_cannot_be_read_has_no_hash_kept(root: Path, reads: list[str]) -> None:
    images = open_class_folders(root)
    (root / "a" / "0.bmp").unlink()
    gone = images.content_hash
    pictures.save_picture(root / "a" / "0.bmp", 0)
    assert open_class_folders(root).content_hash != gone
    assert reads.count("0.bmp") == 3  # two of a, one of b


def test_files_of_a_plugin_need_no_listing(root: Path) -> None:
    listed = open_class_folders(root)
    plain = FileImages(list(listed.files), listed.labels, listed.classes)
    assert plain.content_hash == listed.content_hash
    assert isinstance(plain.contents, Contents)
