"""Where the samples of a tar lie in it: its headers are read once. Nothing is unpacked, and no tar is trusted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ddeep.plugin import DataError, image_suffixes, kept_index, open_regular

_MOST_HEADER = 1 << 20  # bytes of one header, a long name for instance
_MOST_LABEL = 1 << 20  # bytes of a .json
_LABELS = ("cls", "label", "class", "target", "label_id", "class_id")  # what a .json may call it


@dataclass(frozen=True)
class TarIndex:
    """The labelled pictures of one tar, in its order: places, names, and labels as text.

    ``label[i]`` is a place in ``texts``. ``odd`` counts samples without a picture, and ``first_odd`` names one.
    """

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    label: NDArray[np.int64]
    joined: bytes
    texts: tuple[str, ...]
    odd: int
    first_odd: str

    def names(self) -> list[str]:
        """Of all pictures."""
        return os.fsdecode(self.joined).split("\0") if self.joined else []


def index_tar(path: Path) -> TarIndex:
    """The index of a tar, from the cache unless the file is another than it was. Raises DataError."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    key = {"tar": str(path.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "kind": 1}
    found = kept_index(key, lambda: _scan(path, status.st_size).arrays())
    facts = json.loads(found["facts"].tobytes())
    columns = (found[name] for name in ("offsets", "sizes", "label"))
    return TarIndex(*columns, found["names"].tobytes(), tuple(facts["texts"]), facts["odd"], facts["first_odd"])


@dataclass
class _Found:
    """What a scan gathers."""

    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    odd: int = 0
    first_odd: str = ""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As the cache keeps it."""
        facts = {"texts": list(self.texts), "odd": self.odd, "first_odd": self.first_odd}
        columns = {name: np.array(getattr(self, name), np.int64) for name in ("offsets", "sizes", "label")}
        names = np.frombuffer(os.fsencode("\0".join(self.names)), np.uint8)
        return {**columns, "names": names, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def _scan(path: Path, size: int) -> _Found:
    index = _Found()
    try:
        with open_regular(path) as file:
            for key, sample in _samples(file, size):
                _add(index, path, key, sample)
    except (tarfile.TarError, EOFError, RecursionError, ValueError, OSError) as error:
        reason = "it is compressed" if _is_compressed(path) else str(error) or type(error).__name__
        raise DataError(
            f"{path} is no plain tar ({reason}). Shards are tar files that are not compressed; unpack or mend it."
        ) from error
    return index


class _Sample(dict[str, tarfile.TarInfo]):
    """Members by their ending, and the file to read them from."""

    file: io.BufferedReader

    def read(self, ending: str, most: int) -> bytes:
        member = self[ending]
        if member.size > most:
            raise ValueError(f"{member.name} has {member.size} bytes, more than a label takes")
        self.file.seek(member.offset_data)
        return self.file.read(member.size)


def _samples(file: io.BufferedReader, size: int) -> Iterator[tuple[str, _Sample]]:
    """Members that follow each other and have one name up to its first dot, as WebDataset groups them."""
    with tarfile.open(fileobj=cast(io.BufferedReader, _Bounded(file)), mode="r:") as tar:
        key, sample = "", _Sample()
        while (member := tar.next()) is not None:
            tar.members = []  # it would keep them all
            if not member.isreg() or member.issparse():
                continue  # links and folders hold nothing, and lead nowhere
            if member.offset_data + member.size > size:
                raise EOFError(f"it ends inside {member.name[:80]}")
            here, ending = _split(member.name)
            if here != key and sample:
                yield key, sample
                sample = _Sample()
            key, sample.file = here, file
            sample[ending] = member
        if sample:
            yield key, sample


def _split(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.parent / stem), ending.lower()


def _add(index: _Found, path: Path, key: str, sample: _Sample) -> None:
    pictures = [ending for ending in sample if f".{ending}" in image_suffixes()]
    if len(pictures) != 1:
        if len(pictures) > 1:
            raise ValueError(f"{key} has several pictures: {', '.join(pictures)}")
        index.odd, index.first_odd = index.odd + 1, index.first_odd or key
        return
    text = _label(sample)
    if text is None:
        raise DataError(
            f"{path}: {key} has no label: a file .cls, or a .json with one of {', '.join(_LABELS)}. It has "
            f"{', '.join(f'.{ending}' for ending in sample)}."
        )
    member = sample[pictures[0]]
    index.offsets.append(member.offset_data)
    index.sizes.append(member.size)
    index.names.append(member.name)
    index.label.append(index.texts.setdefault(text, len(index.texts)))


def _label(sample: _Sample) -> str | None:
    """A class number or name, as text."""
    if "cls" in sample:
        return sample.read("cls", _MOST_LABEL).decode().strip()
    if "json" not in sample:
        return None
    found = json.loads(sample.read("json", _MOST_LABEL))
    value = next((found[name] for name in _LABELS if name in found), None) if isinstance(found, dict) else found
    if isinstance(value, list):
        raise ValueError(f"{sample['json'].name} has several labels: ddeep is about one class an image")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


class _Bounded:
    """A file of which no header is read that is longer than headers are."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.seek: Callable[..., int] = file.seek
        self.tell: Callable[[], int] = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _is_compressed(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            start = file.read(6)
    except OSError:
        return False
    return start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
