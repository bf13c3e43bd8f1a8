"""Small images are decoded once and kept as one file: the pixels of a whole dataset, mapped into memory.

An entry of the cache is a ``.npy`` file followed by the sha256 of its pixels, named after the hash of what the
files hold, and renamed into place when whole. Pixels are hashed whenever they are opened, so an entry that is damaged
or out of date is never used. It is put together from parts, entries of the same form: a conversion that was killed goes
on with those that are missing, and commands that convert one dataset at the same time share them.

Whoever reads a part of a dataset only (``left_in_files``) converts nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from ..console import progress
from ..errors import CacheError, DataError
from ..files.atomic import map_array, written_whole
from ..files.cache import cache_part
from ..files.locks import remove_temporaries
from ..files.paths import cache_root
from ..files.regular import open_regular
from .decoding import exact_pixels, read_rgb
from .images import FileImages, Images, TensorImages, content_hash
from .loader import decode_batches
from .workers import default_workers

MAX_BYTES = 2 * 1024**3
_BATCH = 256
_PART = 2**14  # images: each part starts the processes that decode it
_TRIES = 3  # another command may take a part away when it has failed
_SAMPLED_FILES = 16

_left: ContextVar[bool] = ContextVar("left_in_files", default=False)


@contextmanager
def left_in_files() -> Iterator[None]:
    """Datasets opened in the block stay files, small as their images may be: for whoever reads a part of them only.

    Each is decoded when it is read, to the very pixels that the conversion gives.
    """
    token = _left.set(True)
    try:
        yield
    finally:
        _left.reset(token)


def as_tensor_images(images: FileImages) -> TensorImages | FileImages:
    """All images in memory, decoded now or by an earlier command; as files where they are ``left_in_files``.

    The pixels are mapped from the cache, not copied, and the mapping is private: writing to it changes no file.
    Raises DataError for a file that does not decode or has another size than the first, and where all of them take
    more than 2 GB.
    """
    if _left.get():
        first = read_rgb(images.files[0])
        return replace(images, size=(first.height, first.width))
    # Decoders of lossy formats differ between versions.
    entry = cache_root() / "datasets" / f"{images.content_hash}-pillow-{PIL.__version__}.npy"
    remove_temporaries(entry.parent)
    before = _mark(entry)
    found = _open(entry, len(images))
    if found is None:
        _convert(images, entry, before)
        found = _open(entry, len(images))
    if found is None:
        raise CacheError(f"{entry} is not what was just written. Check the disk, or set DDEEP_CACHE to another folder.")
    pixels, digest = found
    hashed = content_hash(digest, tuple(pixels.shape), images.labels, images.classes)
    return TensorImages(pixels, images.labels, images.classes, hashed)


def are_small(images: FileImages, side: int = 64) -> bool:
    """Whether a look at a few of the files finds images of one size, at most ``side``, that fit in memory together."""
    step = max(1, len(images) // _SAMPLED_FILES)
    try:
        sizes = {read_rgb(images.files[index]).size for index in range(0, len(images), step)}
    except DataError:
        return False
    (width, height), *others = sizes
    return not others and max(width, height) <= side and len(images) * width * height * 3 <= MAX_BYTES


def in_memory_if_small(images: FileImages) -> Images:
    """All images in memory where they are small (``are_small``), else as they are."""
    if not are_small(images):
        return images
    try:
        return as_tensor_images(images)
    except DataError:
        # A file of another size, or one that does not decode: reading them one by one copes, or names it.
        return images


def _open(entry: Path, count: int) -> tuple[UInt8[Tensor, "n h w 3"], str] | None:
    """The pixels of an entry with their sha256; None if it is missing or not as it should be."""
    try:
        pixels, digest = check_converted(entry)
    except (OSError, ValueError):
        return None
    return (torch.from_numpy(pixels), digest.hex()) if len(pixels) == count else None


def check_converted(entry: Path) -> tuple[NDArray[np.uint8], bytes]:
    """The pixels ``(N, H, W, 3)`` of an entry and their hash. Raises OSError, ValueError where they disagree."""
    pixels = map_array(entry, "c")
    with open_regular(entry) as file:
        file.seek(-hashlib.sha256().digest_size, 2)
        digest = file.read()
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.flags.c_contiguous:
        raise ValueError(f"it holds {pixels.ndim} dimensions of {pixels.dtype}")
    if hashlib.sha256(pixels.data).digest() != digest:
        raise ValueError("its pixels do not match their hash")
    return pixels, digest


def _mark(entry: Path) -> tuple[int, int] | None:
    """What tells an entry from the one that is renamed into its place; None where there is none."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _convert(images: FileImages, entry: Path, damaged: tuple[int, int] | None) -> None:
    """Make an entry, in place of one that is ``damaged``, unless another command is first."""
    cache_part(entry.parent.name)
    first = read_rgb(images.files[0])
    shape = (len(images), first.height, first.width, 3)
    if np.prod(shape, dtype=np.float64) > MAX_BYTES:
        raise DataError(f"{len(images)} images of {first.width} × {first.height} pixels take more than 2 GB in memory.")
    parts = _Parts(images, entry, damaged, shape[1:])
    try:
        with suppress(_DoneElsewhere):
            with progress("Decoding images, once", len(images)) as advance:
                for number in parts.order():
                    advance(len(parts.pixels(number)))
            _write(entry, shape, parts.joined())
    except DataError:
        parts.remove()  # not all files are of this size: no command can use them
        raise
    parts.remove()


class _DoneElsewhere(Exception):  # noqa: N818 - no error
    """Another command has put the parts together, and removed them."""


class _Parts:
    """The parts of a dataset under conversion, entries by themselves: what is there is taken, whoever made it."""

    def __init__(
        self, images: FileImages, entry: Path, damaged: tuple[int, int] | None, shape: tuple[int, ...]
    ) -> None:
        self.images, self.entry, self.damaged, self.shape = images, entry, damaged, shape
        self.rows = torch.split(torch.arange(len(images)), _PART)

    def done(self) -> bool:
        """Whether another command was first."""
        return _mark(self.entry) not in (None, self.damaged)

    def order(self) -> list[int]:
        """All parts, from one on that differs between processes of nearby numbers: so they meet late."""
        count = len(self.rows)
        first = int(count * (os.getpid() * 0.618033988749895 % 1))
        return [(first + number) % count for number in range(count)]

    def pixels(self, number: int) -> UInt8[Tensor, "m h w 3"]:
        """Of one part: mapped from its file, which is made where it is missing or damaged. Raises _DoneElsewhere."""
        path, rows = self._path(number), self.rows[number]
        for _ in range(_TRIES):
            found = _open(path, len(rows))
            if found is not None:
                return found[0]
            if self.done():
                raise _DoneElsewhere
            _write(path, (len(rows), *self.shape), self._decoded(rows))
        raise CacheError(f"{path} is not what was just written. Check the disk, or set DDEEP_CACHE to another folder.")

    def joined(self) -> Iterator[UInt8[Tensor, "m h w 3"]]:
        """All of them, one after the other."""
        for number in range(len(self.rows)):
            yield self.pixels(number)

    def remove(self) -> None:
        for number in range(len(self.rows)):
            with suppress(OSError):
                self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self.entry.with_name(f"{self.entry.stem}-part-{number}.npy")

    def _decoded(self, rows: Tensor) -> Iterator[UInt8[Tensor, "m h w 3"]]:
        height, width, _ = self.shape
        decode = partial(exact_pixels, height=height, width=width)
        size = height * width * 3
        wanted = torch.split(rows, _BATCH)
        for decoded in decode_batches(self.images.files, wanted, decode, default_workers(), image_bytes=size):
            if decoded.errors:
                raise DataError(decoded.errors[0])
            yield decoded.pixels


def _write(entry: Path, shape: tuple[int, ...], pixels: Iterator[UInt8[Tensor, "m h w 3"]]) -> None:
    """Make an entry. Written, not mapped: on a full disk a write fails with an error, a mapping kills the process."""
    digest = hashlib.sha256()
    with written_whole(entry) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for batch in pixels:
            part = batch.numpy().data
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
