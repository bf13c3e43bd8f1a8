"""Pictures that come one after the other and no other way: kept in the cache as they pass, and then found by number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..console import progress
from ..errors import DataError
from ..files.atomic import written_whole
from ..files.cache import cache_part
from ..files.index import kept_index
from ..files.paths import cache_root
from .images import FileImages
from .indexed import indexed_images
from .pictures import MAX_BYTES, PicturesInside

Samples = Callable[[], Iterable[tuple[bytes, int]]]


def streamed_images(key: Mapping[str, Any], samples: Samples, classes: Sequence[str]) -> FileImages:
    """What ``samples()`` gives, encoded pictures each with its label among ``classes``, as a dataset's ``open`` does.

    It is gone through once, a picture in memory at a time, and written to one file of the cache; afterwards all of
    ddeep reads from there. ``key`` (JSON-ready) says what the stream is, and which version of it: as long as it is the
    same, the stream is not asked again. Raises DataError for what is no picture's bytes.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = cache_root() / "streams" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pictures"

    def holds(found: dict[str, NDArray[Any]]) -> bool:
        return path.is_file() and path.stat().st_size == int(found["sizes"].sum())

    found = kept_index({"stream": text}, lambda: _keep(path, samples), holds)
    pictures = PicturesInside([path])
    offsets = np.cumsum(found["sizes"]) - found["sizes"]
    for at, (offset, size) in enumerate(zip(offsets.tolist(), found["sizes"].tolist(), strict=True)):
        pictures.append(0, offset, size, str(at))
    labels = torch.from_numpy(found["labels"].copy())
    return indexed_images(pictures, labels, classes, pictures.listing(), [path])


def _keep(path: Path, samples: Samples) -> dict[str, NDArray[Any]]:
    cache_part("streams")
    sizes, labels = [], []
    with written_whole(path) as temporary, temporary.open("wb") as file, progress("Keeping a stream of images") as told:
        for content, label in samples():
            if not isinstance(content, bytes) or len(content) > MAX_BYTES:
                raise DataError(f"A stream gives the bytes of image files, not a {type(content).__name__}.")
            file.write(content)
            sizes.append(len(content))
            labels.append(int(label))
            told(1)
    return {
        "sizes": np.array(sizes, np.int64),
        "labels": np.array(labels, np.int64),
    }
