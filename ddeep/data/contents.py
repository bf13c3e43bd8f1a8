"""What files of images hold: a hash of each, taken while they are decoded, and kept for as long as nobody touches them.

Size, time of change, time of any change of the inode, and its number say only whether a file is the one that was read
before; what they cannot say is never taken from them. So images changed with their times kept have another hash, and a
copy with other times has the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor
from torch.utils.data import Dataset

from ..console import progress
from ..errors import CacheError
from ..files.cache import cache_part
from ..files.paths import cache_root
from ..files.regular import require_readable
from ..files.tensors import write_tensors
from .pictures import Picture, open_picture
from .workers import default_workers, read_ahead

DIGEST = 16  # bytes kept of a file's sha256
_UNKNOWN, _UNREADABLE = bytes(DIGEST), b"\xff" * DIGEST
_SETTLED = 2_000_000_000  # nanoseconds; a file changed twice in one tick of its clock shows the second change nowhere
_PART = 2**20  # bytes of a file at once
_AT_ONCE = 1024  # files that a process hashes before it tells of them


class Marks:
    """How files look from outside: 8 bytes each, and one hash of all their names and sizes."""

    def __init__(self) -> None:
        self.values = array("Q")
        self.settled = bytearray()
        self._listing = hashlib.sha256()
        self._now = time.time_ns()

    def append(self, name: str, status: os.stat_result) -> None:
        """Add one file, by its name below the dataset's folder."""
        self._add(name, status.st_size, [status], "")

    def append_inside(self, name: str, size: int, holders: Sequence[os.stat_result]) -> None:
        """Add a picture of ``size`` bytes inside one of ``holders``, touched when any of them is."""
        self._add(name, size, holders, f"{name} {size} in ")

    def _add(self, name: str, size: int, stats: Sequence[os.stat_result], start: str) -> None:
        seen = start + " ".join(f"{one.st_size} {one.st_mtime_ns} {one.st_ctime_ns} {one.st_ino}" for one in stats)
        touched = max(max(one.st_mtime_ns, one.st_ctime_ns) for one in stats)
        hashed = hashlib.blake2b(seen.encode(errors="surrogateescape"), digest_size=8).digest()
        self.values.append(int.from_bytes(hashed, "little"))
        self.settled.append(touched < self._now - _SETTLED)
        self._listing.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))

    @classmethod
    def of(cls, files: Sequence[Path | Picture]) -> Marks:
        """Those of ``files``, named below the folder that all are in; one that is not there, or no file, has none."""
        marks = cls()
        paths = [os.path.abspath(file.parent) for file in files if isinstance(file, Path)]  # noqa: PTH100 - no link followed
        root = os.path.commonpath(paths) if paths else ""
        for file in files:
            try:
                if not isinstance(file, Path):
                    raise OSError
                marks.append(os.path.relpath(file, root), file.stat())
            except OSError:
                marks.values.append(0)
                marks.settled.append(False)
        return marks

    def part(self, rows: NDArray[np.int64]) -> Marks:
        """Those of some of the files."""
        marks = Marks()
        marks.values = array("Q", np.frombuffer(self.values, np.uint64)[rows].tobytes())
        marks.settled = bytearray(np.frombuffer(self.settled, np.uint8)[rows].tobytes())
        marks._listing.update(self.listing.encode() + rows.tobytes())
        return marks

    @property
    def listing(self) -> str:
        """Hex sha256 of all names and sizes."""
        return self._listing.hexdigest()


class Contents:
    """A hash of every file of ``files``: noted by whoever reads them, kept in the cache, or else found by reading them.

    ``complete`` reads what is missing; ``seen`` says whether files of these names and sizes were ever read before: of
    those that were not, the cache holds nothing, so that one may read them first and ask for their hash afterwards.
    """

    def __init__(self, files: Sequence[Path | Picture], marks: Marks | None = None) -> None:
        self.files = files
        self._marks = marks
        self._digests: NDArray[np.uint8] | None = None
        self._seen = False
        self._kept = True  # in the cache
        self._saved = 0  # how many of them the cache knows

    @property
    def marks(self) -> Marks:
        """How the files looked when they were listed."""
        if self._marks is None:
            self._marks = Marks.of(self.files)
        return self._marks

    @property
    def digests(self) -> UInt8[Tensor, "n 16"]:
        """The first 16 bytes of each file's sha256; zeros where it is not known."""
        return torch.from_numpy(self._known())

    @property
    def seen(self) -> bool:
        """Whether the cache knew files of these names and sizes, here or elsewhere, when it was first asked."""
        self._known()
        return self._seen

    @property
    def missing(self) -> Int64[Tensor, " m"]:
        """Which files' hashes are not known."""
        return torch.from_numpy(np.flatnonzero(self._known().max(axis=1) == 0))

    def note(self, indices: Int64[Tensor, " m"], digests: UInt8[Tensor, "m 16"]) -> None:
        """Take in the hashes of the files at ``indices``, from whoever has just read them."""
        self._known()[indices.numpy()] = digests.numpy()

    def complete(self, wanted: Bool[Tensor, " n"] | None = None) -> UInt8[Tensor, "n 16"]:
        """The hashes, of all files or at least of those ``wanted``: what is not known is read, by several processes."""
        missing = (self.missing if wanted is None else self.missing[wanted[self.missing]]).numpy()
        if len(missing):
            parts = np.array_split(missing, max(1, len(missing) // _AT_ONCE))
            workers = min(default_workers(), len(parts) - 1)  # not worth their start for one part
            hashed = read_ahead(_Hashes(self.files, parts), workers, in_shared_memory=False)
            with progress("Hashing images", len(missing)) as advance:
                for part, found in zip(parts, hashed, strict=True):
                    self._known()[part] = found
                    advance(len(part))
        self._save()
        return self.digests

    def part(self, indices: Int64[Tensor, " m"]) -> Contents:
        """Those of some of the files; what is found out about these is not kept."""
        rows = indices.numpy()
        part = Contents([self.files[index] for index in indices.tolist()], self.marks.part(rows))
        part._digests, part._seen, part._kept = self._known()[rows], self._seen, False
        return part

    def _path(self) -> Path:
        """Its place in the cache: by names and sizes, and by where the files lie."""
        place = hashlib.sha256(os.path.abspath(str(self.files[0])).encode(errors="surrogateescape"))  # noqa: PTH100
        return cache_root() / "contents" / f"{self.marks.listing[:32]}-{place.hexdigest()[:16]}.safetensors"

    def _known(self) -> NDArray[np.uint8]:
        if self._digests is None:
            self._digests = np.zeros((len(self.files), DIGEST), np.uint8)
            path = self._path()
            self._seen = any(path.parent.glob(f"{self.marks.listing[:32]}-*.safetensors"))
            with suppress(OSError, ValueError):
                marks, digests = read_table(path)
                if len(marks) == len(self.files):
                    same = (marks == np.frombuffer(self.marks.values, np.uint64)) & (marks != 0)
                    self._digests[same] = digests[same]
                    self._saved = int(same.sum())
        return self._digests

    def _save(self) -> None:
        """Keep what is known of files at rest. A cache that cannot be written costs time the next time, no more."""
        if not self._kept:
            return
        digests = self._known()
        good = np.frombuffer(self.marks.settled, np.uint8).astype(bool)
        good &= digests.any(1) & ~(digests == np.frombuffer(_UNREADABLE, np.uint8)).all(1)
        if int(good.sum()) <= self._saved and self._seen:
            return
        marks = np.where(good, np.frombuffer(self.marks.values, np.uint64), 0).astype(np.uint64)
        kept = {"marks": marks.view(np.int64), "digests": digests, "check": _check(marks, digests)}
        with suppress(OSError, CacheError):
            cache_part("contents")
            write_tensors({name: torch.from_numpy(array) for name, array in kept.items()}, self._path())
            self._saved = int(good.sum())


class _Hashes(Dataset[Any]):
    """Item i is the hashes of the files of part i."""

    def __init__(self, files: Sequence[Path | Picture], parts: Sequence[NDArray[np.int64]]) -> None:
        self.files, self.parts = files, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        return np.stack([hash_file(self.files[index]) for index in self.parts[number].tolist()])


def hash_file(path: Path | Picture) -> NDArray[np.uint8]:
    """The first 16 bytes of a file's sha256, as ``sha256sum`` shows it; all ones for one that cannot be read.

    Never raises: whoever decodes such a file says what is wrong with it.
    """
    digest, hashed = _UNREADABLE, hashlib.sha256()
    with suppress(OSError), open_picture(path) as file:
        while part := file.read(_PART):  # file_digest() would clear as many bytes first, for a file of a few hundred
            hashed.update(part)
        digest = hashed.digest()[:DIGEST]
    return np.frombuffer(digest if digest != _UNKNOWN else _UNREADABLE, np.uint8)


def read_table(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The marks and hashes that are kept of files. Raises OSError, and ValueError for a table that is damaged."""
    require_readable(path)
    try:
        kept = load_file(path)
        marks, digests = kept["marks"].view(np.uint64), kept["digests"]
        whole = digests.shape == (len(marks), DIGEST) and np.array_equal(kept["check"], _check(marks, digests))
    except (SafetensorError, LookupError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not whole:
        raise ValueError("its hashes do not match their own hash")
    return marks, digests


def _check(marks: NDArray[np.uint64], digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
    whole = hashlib.sha256(marks.tobytes() + digests.tobytes()).digest()
    return np.frombuffer(whole, np.uint8).copy()
