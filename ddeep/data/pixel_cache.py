"""Small images are decoded once and kept as one file: the pixels of a whole dataset, mapped into memory.

An entry of the cache is a ``.npy`` file followed by the sha256 of its pixels, named after the hash of what the
files hold, and renamed into place when whole. Pixels are hashed whenever they are opened, so an entry that is damaged
or out of date is never used. Commands that convert one dataset at the same time write the same file.
"""

from __future__ import annotations

import hashlib
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
from .loader import decode_batches, default_workers

MAX_BYTES = 2 * 1024**3
_BATCH = 256
_SAMPLED_FILES = 16


def as_tensor_images(images: FileImages) -> TensorImages:
    """All images in memory, decoded now or by an earlier command.

    The pixels are mapped from the cache, not copied, and the mapping is private: writing to it changes no file.
    Raises DataError for a file that does not decode or has another size than the first, and where all of them take
    more than 2 GB.
    """
    # Decoders of lossy formats differ between versions.
    entry = cache_root() / "datasets" / f"{images.content_hash}-pillow-{PIL.__version__}.npy"
    remove_temporaries(entry.parent)
    found = _open(entry, len(images))
    if found is None:
        _convert(images, entry)
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


def _convert(images: FileImages, entry: Path) -> None:
    cache_part(entry.parent.name)
    first = read_rgb(images.files[0])
    shape = (len(images), first.height, first.width, 3)
    if np.prod(shape, dtype=np.float64) > MAX_BYTES:
        raise DataError(f"{len(images)} images of {first.width} × {first.height} pixels take more than 2 GB in memory.")
    decode = partial(exact_pixels, height=first.height, width=first.width)
    wanted = torch.split(torch.arange(len(images)), _BATCH)
    digest = hashlib.sha256()
    # Written, not mapped: on a full disk a write fails with an error, a mapping kills the process.
    with written_whole(entry) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with progress("Decoding images, once", len(images)) as advance:
            for decoded in decode_batches(
                images.files, wanted, decode, default_workers(), image_bytes=first.height * first.width * 3
            ):
                if decoded.errors:
                    raise DataError(decoded.errors[0])
                part = decoded.pixels.numpy().data
                digest.update(part)
                file.write(part)
                advance(len(decoded.indices))
        file.write(digest.digest())
