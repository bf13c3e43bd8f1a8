"""Images that a plugin has listed one by one, inside files that hold many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxtyping import Int64
from torch import Tensor

from ..errors import DataError
from .contents import Contents, Marks
from .images import FileImages
from .pictures import Picture


def indexed_images(
    pictures: Sequence[Picture],
    labels: Int64[Tensor, " n"],
    classes: Sequence[str],
    listing: Iterable[tuple[str, int, int | None]],
    holders: Sequence[Path],
) -> FileImages:
    """``pictures`` with their ``labels`` among ``classes``, as a dataset's ``open`` returns them.

    ``listing`` gives the name and size of each, the same wherever they lie, and which of ``holders``, the files that
    hold them, it is in (None: any of them): when that is touched, its pictures are hashed anew. Raises DataError where
    a holder is missing.
    """
    marks = Marks()
    try:
        stats = [path.stat() for path in holders]
    except OSError as error:
        raise DataError(f"Cannot read {error.filename}: {error.strerror}.") from error
    for name, size, number in listing:
        marks.append_inside(name, size, stats if number is None else [stats[number]])
    return FileImages(pictures, labels, tuple(classes), Contents(pictures, marks))
