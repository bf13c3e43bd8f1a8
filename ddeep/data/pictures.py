"""Encoded pictures that are no files of their own: inside a larger file, or in the row of a table."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, overload, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from ..files.regular import open_regular

Opened: TypeAlias = io.BytesIO | io.BufferedReader
MAX_BYTES = 512 * 2**20  # for one picture, in each of the processes that decode


@runtime_checkable
class Picture(Protocol):
    """An encoded picture. ``str`` of it is what messages call it."""

    def open(self) -> Opened:
        """Its bytes, as those of an image file. Raises OSError where they cannot be had."""


@dataclass(frozen=True)
class PictureInside:
    """``size`` bytes at ``offset`` of a larger file, such as a tar: read from there, never unpacked."""

    path: Path
    offset: int
    size: int
    name: str = ""

    def open(self) -> Opened:
        """Raises OSError where the file has not that many, and for more than a picture may have."""
        if self.size > MAX_BYTES:
            raise OSError(f"it has {self.size >> 20} MiB, more than {MAX_BYTES >> 20}")
        with open_regular(self.path) as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError("the file that holds it ends before it does")
        return io.BytesIO(content)

    def __str__(self) -> str:
        return f"{self.path}/{self.name}"


@dataclass(frozen=True)
class PictureBytes:
    """A picture that somebody has read already."""

    content: bytes
    name: str

    def open(self) -> Opened:
        """Its bytes."""
        return io.BytesIO(self.content)

    def __str__(self) -> str:
        return self.name


class PicturesInside(Sequence[PictureInside]):
    """Pictures inside a few larger files: their places as numbers and their names as bytes, not a million objects."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._numbers, self._offsets, self._sizes = array("l"), array("q"), array("q")
        self._text, self._ends = bytearray(), array("q")

    def append(self, number: int, offset: int, size: int, name: str) -> None:
        """Add the picture ``name``: ``size`` bytes at ``offset`` of the file ``paths[number]``."""
        self._numbers.append(number)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._text += os.fsencode(name)
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> PictureInside: ...
    @overload
    def __getitem__(self, index: slice) -> list[PictureInside]: ...
    def __getitem__(self, index: int | slice) -> PictureInside | list[PictureInside]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        name = os.fsdecode(bytes(self._text[self._ends[at - 1] if at else 0 : self._ends[at]]))
        return PictureInside(self.paths[self._numbers[at]], self._offsets[at], self._sizes[at], name)

    def numbers(self) -> Int64[Tensor, " n"]:
        """Of each the number of the file that holds it."""
        return torch.tensor(self._numbers, dtype=torch.int64)

    def listing(self) -> Iterator[tuple[str, int, int]]:
        """Of each its name, with that of its file, its size, and the file's number."""
        for number, picture in zip(self._numbers, self, strict=True):
            yield f"{picture.path.name}/{picture.name}", picture.size, number


def open_picture(source: Path | Picture) -> Opened:
    """The bytes of an image file, or of a picture that is none. Raises OSError."""
    return open_regular(source) if isinstance(source, Path) else source.open()


def short_name(picture: Path | Picture) -> str:
    """What a reader calls it: its file, and the folder that holds that."""
    return "/".join(Path(str(picture)).parts[-2:])
