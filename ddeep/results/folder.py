"""The folder of a result: whether it can be had, and writing it whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .. import console
from ..errors import CacheError
from ..evidence.ranks import rank
from ..files.atomic import written_whole
from ..files.locks import remove_temporaries, temporary_folder
from ..files.paths import beside


def check_out(out: Path) -> None:
    """Fail before any work is done where ``out`` cannot become a run directory. Leaves nothing behind."""
    if rank() > 0:
        return
    place = Path(os.path.abspath(out))  # noqa: PTH100 - as the writer takes it
    try:
        remove_temporaries(place)  # of a command that was killed there
        if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
            raise CacheError(
                f"{out} already exists. Results are never overwritten: choose another --out, or remove it."
            )
        nearest = next(parent for parent in place.parents if parent.exists())
        with temporary_folder(nearest) as probe:
            (probe / place.name).mkdir()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CacheError(f"Cannot write to {out}: {reason}. Choose another --out.") from None


def save_result(out: Path, write: Callable[[Path], None]) -> Path:
    """Make the folder ``out`` of what ``write(folder)`` puts into it, whole or not at all; return where it is.

    Where another command has taken ``out`` meanwhile, no work is lost: it is written beside it, as ``out``-2 and so on.
    """
    for folder in beside(out):
        if _taken(folder):
            continue
        try:
            with written_whole(folder) as temporary:
                temporary.mkdir()
                write(temporary)
        except CacheError:
            if not _taken(folder):
                raise
            continue
        if folder != out:
            console.warn(f"{out} has been taken meanwhile; this result is saved in {folder}.")
        return folder
    raise AssertionError("counting has no end")


def _taken(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
