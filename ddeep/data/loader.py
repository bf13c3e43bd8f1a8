"""Images to normalised batches: slices of a tensor in memory, or files decoded by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import ConfigError, DataError
from .batches import Batch
from .contents import DIGEST, hash_file
from .decoding import exact_pixels, fitted_pixels
from .images import FileImages, Images, ResponseTable, TensorImages
from .loaded import LoadedImages
from .pictures import Picture
from .preprocessing import Preprocessing
from .shared_memory import enough
from .workers import PREFETCHED, default_workers, read_ahead

Decode: TypeAlias = Callable[[Path | Picture], UInt8[Tensor, "h w 3"]]


class Decoded(NamedTuple):
    """What a worker sends back: pixels of the files that decoded, messages for the others, hashes of all if wanted."""

    pixels: UInt8[Tensor, "n h w 3"]
    indices: Int64[Tensor, " n"]
    errors: list[str]
    digests: UInt8[Tensor, "m 16"]


class Loader:
    """Iterate images in batches, in the order of the dataset.

    With several processes (``world``), batch i of the one-process order goes to process ``rank`` = i % world, so that
    together they see exactly the same batches. The ``first`` batches of this process are left out. ``workers`` are
    processes decoding files (default: one per processor, at most 8; 0 decodes in this process). ``skip_bad`` leaves
    out files that do not decode, counts them in ``skipped`` and keeps the first messages in ``complaints``; without it
    the first of them raises DataError.
    """

    def __init__(
        self,
        images: Images,
        preprocessing: Preprocessing | None,
        batch_size: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        rank: int = 0,
        world: int = 1,
        first: int = 0,
        workers: int | None = None,
        skip_bad: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"The batch size must be 1 or more, not {batch_size}.")
        self.images = images
        self._recipe = preprocessing
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.dtype = dtype
        self.skip_bad = skip_bad
        self.skipped = 0
        self.complaints: list[str] = []
        self._workers = default_workers(world) if workers is None else workers
        self._first, self._world = first, world
        self._batches = range(rank, -(-len(images) // batch_size), world)[first:]

    def __len__(self) -> int:
        """How many batches this process sees (bad files may empty some of them)."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        self.skipped, self.complaints = 0, []
        if isinstance(self.images, TensorImages):
            return self._from_memory(self.images)
        if isinstance(self.images, ResponseTable):
            return self._from_table(self.images)
        if isinstance(self.images, LoadedImages):
            return self._from_loader(self.images)
        return self._from_files(self.images)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared; a table of responses needs none."""
        if self._recipe is None:
            raise ConfigError("These images need a preprocessing: mean, std and size.")
        return self._recipe

    def _from_memory(self, images: TensorImages) -> Iterator[Batch]:
        for number in self._batches:
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            pixels = self.preprocessing.fit(self._moved(images.pixels[part]))
            yield self._batch(pixels, images.labels[part], self._indices(number))

    def _from_table(self, table: ResponseTable) -> Iterator[Batch]:
        for number in self._batches:
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            rows = self._moved(table.rows[part].to(self.dtype))
            yield Batch(rows, self._moved(table.labels[part]), self._moved(self._indices(number)))

    def _from_loader(self, images: LoadedImages) -> Iterator[Batch]:
        if self._world > 1:
            raise ConfigError("Several processes need a dataset of a plugin: a loader of your own is read by one.")
        for batch in islice(images.read(), self._first, None):
            yield Batch(*map(self._moved, batch))

    def _from_files(self, images: FileImages) -> Iterator[Batch]:
        wanted = [self._indices(number) for number in self._batches]
        found = decode_batches(
            images.files,
            wanted,
            _decoder(images, self.preprocessing),
            self._workers,
            image_bytes=self.preprocessing.nbytes if images.size is None else 3 * images.size[0] * images.size[1],
            pinned=self.device.type == "cuda",
            hashed=len(images.contents.missing) > 0,
        )
        for indices, decoded in zip(wanted, found, strict=True):
            if len(decoded.digests):
                images.contents.note(indices, decoded.digests)
            if decoded.errors and not self.skip_bad:
                raise DataError(decoded.errors[0])
            self.skipped += len(decoded.errors)
            self.complaints += decoded.errors[: 10 - len(self.complaints)]
            if len(decoded.indices):
                labels, pixels = images.labels[decoded.indices], self._moved(decoded.pixels)
                fitted = pixels if images.size is None else self.preprocessing.fit(pixels)
                yield self._batch(fitted, labels, decoded.indices)

    def _indices(self, number: int) -> Int64[Tensor, " n"]:
        start = number * self.batch_size
        return torch.arange(start, min(start + self.batch_size, len(self.images)))

    def _batch(
        self, fitted: UInt8[Tensor, "n s s 3"], labels: Int64[Tensor, " n"], indices: Int64[Tensor, " n"]
    ) -> Batch:
        inputs = self.preprocessing.normalise(fitted).to(self.dtype)
        return Batch(inputs, self._moved(labels), self._moved(indices))

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def decode_batches(
    files: Sequence[Path | Picture],
    wanted: Sequence[Int64[Tensor, " _"]],
    decode: Decode,
    workers: int,
    *,
    image_bytes: int,
    pinned: bool = False,
    hashed: bool = False,
) -> Iterator[Decoded]:
    """Decode ``files`` batch by batch, in the order of ``wanted``, a few batches ahead of the reader.

    ``decode(path)`` returns pixels of one shape for all files, ``image_bytes`` each, or raises DataError; it is sent to
    other processes, which hand over batches in shared memory, or through pipes where there is too little of it. With
    ``hashed`` each file's bytes are hashed, too, as it is read.
    """
    workers = min(workers, len(wanted))
    ahead = (PREFETCHED + 1) * workers  # batches on their way at once
    largest = max((len(indices) for indices in wanted), default=0)
    shared = not workers or enough(ahead * largest * image_bytes)
    batches = (_Batches if shared else _Arrays)(files, wanted, decode, hashed)
    for decoded in read_ahead(batches, workers, in_shared_memory=shared, pinned=pinned):
        parts: Any = (torch.from_numpy(part) if hasattr(part, "dtype") else part for part in decoded)
        yield decoded if shared else Decoded(*parts)


class _Batches(Dataset[Any]):
    """Item i is batch i, decoded: one tensor to send instead of one per image. Errors travel as text."""

    def __init__(self, files: Sequence[Path | Picture], wanted: Sequence[Tensor], decode: Decode, hashed: bool) -> None:
        self.files = files
        self.wanted = wanted
        self.decode = decode
        self.hashed = hashed

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, number: int) -> Decoded:
        pixels, indices, errors, digests = [], [], [], []
        for index in self.wanted[number].tolist():
            file = self.files[index]
            if self.hashed:  # just before it is decoded, so that its bytes come from the disk once
                digests.append(hash_file(file))
            try:
                pixels.append(self.decode(file))
                indices.append(index)
            except DataError as error:
                errors.append(str(error))
        stacked = torch.stack(pixels) if pixels else torch.empty(0, 0, 0, 3, dtype=torch.uint8)
        hashes = torch.from_numpy(np.stack(digests)) if digests else torch.empty(0, DIGEST, dtype=torch.uint8)
        return Decoded(stacked, torch.tensor(indices, dtype=torch.int64), errors, hashes)


class _Arrays(_Batches):
    """The same as plain arrays, which take no shared memory to send."""

    def __getitem__(self, number: int) -> tuple[Any, ...]:  # type: ignore[override]
        return tuple(part.numpy() if isinstance(part, Tensor) else part for part in super().__getitem__(number))


def read_inputs(images: Images, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
    """The images at ``indices`` as the network takes them: normalised."""
    if isinstance(images, LoadedImages):
        return images.fetch(indices)
    return preprocessing.normalise(read_pixels(images, indices, preprocessing))


def read_pixels(images: Images, indices: Sequence[int], preprocessing: Preprocessing) -> UInt8[Tensor, "n s s 3"]:
    """The images at ``indices`` as the network sees them: resized and cropped, not yet normalised."""
    if isinstance(images, LoadedImages):
        return images.pictures(images.fetch(indices))
    if isinstance(images, ResponseTable):
        raise DataError("Responses have no pixels to look at.")
    if isinstance(images, TensorImages):
        return preprocessing.fit(images.pixels[torch.tensor(indices, dtype=torch.int64)])
    decode = _decoder(images, preprocessing)
    pixels = torch.stack([decode(images.files[index]) for index in indices])
    return pixels if images.size is None else preprocessing.fit(pixels)


def _decoder(images: FileImages, preprocessing: Preprocessing) -> Decode:
    """One file to pixels that fit the network; where all have one size, to pixels of that size."""
    if images.size is None:
        return partial(fitted_pixels, preprocessing=preprocessing)
    return partial(exact_pixels, height=images.size[0], width=images.size[1])
