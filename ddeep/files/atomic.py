"""Files that are whole or not there: temporary name first, then rename."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..errors import CacheError
from .durable import sync_names, sync_tree
from .locks import temporary_folder
from .regular import open_regular, require_readable

_ZEROS = 1 << 20  # bytes written at once


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write (a file or a folder); rename it to ``path`` on success.

    What was written is on the disk before it gets its name, and so is the name before this returns: a power cut leaves
    the old or the new, whole. On any failure the temporary is removed and ``path`` is as it was; what a killed process
    has left beside it goes with the next write there. A folder replaces only an absent or empty one.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - "." has no name, and resolving would follow links
    try:
        known = next(parent for parent in path.parents if parent.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            yield folder / path.name
            sync_tree(folder / path.name)
            (folder / path.name).replace(path)
            sync_names(path.parent, known)
    except Exception as error:
        # safetensors says in its own way that a disk is full; importing it for its class would import numpy
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise CacheError(f"Cannot write {path}: {reason}. Free the space or choose a writable place.") from error


def new_rows(path: Path, rows: int, columns: int) -> Any:
    """A new file of float32 zeros ``(rows, columns)`` in numpy's format, mapped into memory. Raises OSError.

    Its space is taken at once: where the disk is full this fails, but writing to a mapping would kill the process.
    """
    import numpy as np

    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(file, header)
        start, size = file.tell(), 4 * rows * columns
        if not size:
            pass
        elif hasattr(os, "posix_fallocate"):
            file.flush()
            os.posix_fallocate(file.fileno(), start, size)
        else:
            for done in range(0, size, _ZEROS):
                file.write(bytes(min(_ZEROS, size - done)))
    return np.lib.format.open_memmap(path, mode="r+")


def map_array(path: Path, mode: Literal["r", "c"]) -> Any:
    """The array in a file of numpy's format, mapped into memory. Raises OSError, and ValueError for any damage."""
    import numpy as np

    require_readable(path)
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # the header is Python, and its parser raises nearly anything
        raise ValueError(f"it holds no array ({type(error).__name__})") from None


def sha256_of(path: Path) -> str:
    """Hex sha256 of a regular file's content. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
