"""What a dataset opens to: labelled images, in memory or on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ..errors import DataError
from .contents import Contents
from .labels import refuse_several
from .loaded import LoadedImages
from .pictures import Picture


@dataclass(frozen=True, eq=False)
class TensorImages:
    """All images as one tensor, in RGB, channels last.

    ``labels`` index into ``classes``, which may name more classes than there are images of. ``content_hash`` (hex
    sha256) covers pixels, labels and class names; it keys every cache: use ``TensorImages.of``. Raises DataError for
    no images, labels out of range and class names given twice.
    """

    pixels: UInt8[Tensor, "n h w 3"]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]
    content_hash: str

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] != 3:
            given = f"{tuple(self.pixels.shape)} {self.pixels.dtype}"
            raise DataError(f"Images in memory are uint8 (n, height, width, 3), not {given}.")
        _check(len(self.pixels), self.labels, self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, pixels: UInt8[Tensor, "n h w 3"], labels: Int64[Tensor, " n"], classes: Sequence[str]) -> TensorImages:
        """Images with their content hash computed."""
        pixels = pixels.contiguous()
        digest = hashlib.sha256(pixels.numpy().data).hexdigest()
        return cls(pixels, labels, tuple(classes), content_hash(digest, tuple(pixels.shape), labels, classes))


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images that stay on disk and are decoded batch by batch: files, or pictures within larger ones.

    ``labels`` index into ``classes``, which may name more classes than there are images of. ``contents`` hashes the
    files (left out: it is made). ``size``, where it is given, are the height and width that all of them have: they are
    then resized as batches, as images in memory are. Raises DataError as TensorImages does.
    """

    files: Sequence[Path | Picture]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]
    contents: Contents = None  # type: ignore[assignment]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check(len(self.files), self.labels, self.classes)
        if self.contents is None:
            object.__setattr__(self, "contents", Contents(self.files))

    @cached_property
    def content_hash(self) -> str:
        """Hex sha256 of what all files hold, labels and class names, whatever the files are called and wherever they
        lie. Files that nobody has read yet are read for it.
        """
        digest = hashlib.sha256(self.contents.complete().numpy().data).hexdigest()
        return content_hash(digest, (len(self),), self.labels, self.classes)

    @cached_property
    def listing_hash(self) -> str:
        """Hex sha256 of names, sizes, labels and class names, which a copy shares. No file is read for it."""
        return content_hash(self.contents.marks.listing, (len(self),), self.labels, self.classes)

    @cached_property
    def place_hash(self) -> str:
        """The same with all that shows a file touched: of these files here, as they are now."""
        marks = hashlib.sha256(self.listing_hash.encode() + self.contents.marks.values.tobytes())
        return marks.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def place_of(self, path: Path) -> int | None:
        """Which of the images the file ``path`` is; None where it is none of them."""
        if not isinstance(self.files[0], Path):  # looking for it would read them all
            return None
        return next((at for at, file in enumerate(self.files) if file == path), None)


@dataclass(frozen=True, eq=False)
class ResponseTable:
    """Responses in place of images: what a network gave of each, a row of K numbers in any floating-point type.

    ``labels`` index into ``classes``. Raises DataError as TensorImages does.
    """

    rows: Float[Tensor, "n k"]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]
    content_hash: str

    def __post_init__(self) -> None:
        _check(len(self.rows), self.labels, self.classes)

    def __len__(self) -> int:
        return len(self.labels)


def _check(count: int, labels: Tensor, classes: Sequence[str]) -> None:
    if count == 0:
        raise DataError("The dataset holds no images.")
    refuse_several(labels)
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise DataError(f"{count} images need {count} int64 labels, not {tuple(labels.shape)} {labels.dtype}.")
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= len(classes):
        out = low if low < 0 else high
        raise DataError(f"Label {out} is out of range: the dataset has the classes 0 to {len(classes) - 1}.")
    if len(set(classes)) < len(classes):
        twice = next(name for index, name in enumerate(classes) if name in classes[:index])
        raise DataError(f"Two classes are named {twice!r}. Give every class a name of its own.")


Images: TypeAlias = TensorImages | FileImages | ResponseTable | LoadedImages


def part_of(
    images: Images, indices: Int64[Tensor, " m"], labels: Int64[Tensor, " m"], classes: Sequence[str]
) -> Images:
    """Those at ``indices``, with other ``labels`` among other ``classes``. Raises DataError where there are none."""
    if isinstance(images, TensorImages):
        return TensorImages.of(images.pixels[indices], labels, classes)
    if isinstance(images, FileImages):
        part = images.contents.part(indices)
        return FileImages(part.files, labels, tuple(classes), part, images.size)
    if isinstance(images, LoadedImages):
        raise DataError("A part of what a loader gives cannot be taken: give a loader of that part.")
    text = json.dumps([images.content_hash, indices.tolist(), labels.tolist(), list(classes)])
    hashed = hashlib.sha256(text.encode()).hexdigest()
    return ResponseTable(images.rows[indices], labels, tuple(classes), hashed)


def content_hash(
    pixels_sha256: str, shape: tuple[int, ...], labels: Int64[Tensor, " n"], classes: Sequence[str]
) -> str:
    """Hex sha256 of images, from the sha256 of their pixels (the same for every disk format) or of their files."""
    text = json.dumps([pixels_sha256, list(shape), labels.tolist(), list(classes)])
    return hashlib.sha256(text.encode()).hexdigest()


Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
