"""What is written reaches the disk: contents, and the names in folders, which are kept apart from them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync_tree(path: Path) -> None:
    """Wait until a file, or a folder with all in it, is on the disk. Links are left alone. Raises OSError."""
    if path.is_symlink() or not path.is_dir():
        _sync_file(path)
        return
    for place, _, files in os.walk(path, topdown=False):
        for name in files:
            _sync_file(Path(place, name))
        _sync_folder(Path(place))


def sync_names(folder: Path, last: Path) -> None:
    """Wait until the names in ``folder``, and in those above it up to ``last``, are on the disk."""
    for place in (folder, *folder.parents):
        _sync_folder(place)
        if place == last:
            return


def _sync_file(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Some file systems know no such thing for folders, and some folders may be written but not read."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
