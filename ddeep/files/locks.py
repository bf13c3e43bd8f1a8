"""Folders that a process holds: locked for as long as it lives, however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

_LOCK = "lock"
_BEGIN, _END = ".ddeep-", ".tmp"
_TRIES = 3


def hold(folder: Path) -> IO[bytes] | None:
    """Make ``folder`` and lock it; closing what is returned, or dying, lets go of it.

    None while another process holds it, or where the file system knows no locks. Raises OSError.
    """
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Neither a link nor a pipe that a stranger has put there is followed or waited for.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue  # the folder has been removed since
        file = open(descriptor, "wb")  # noqa: SIM115, PTH123 - whoever holds the folder closes it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever held it has removed the folder meanwhile


def remove_dead(folder: Path) -> bool:
    """Remove a folder unless a living process holds it; say whether it is gone."""
    with suppress(OSError):
        lock = hold(folder)
        if lock is not None:
            with lock:
                shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder of its own in ``parent``, held while the block runs and removed afterwards.

    Those that killed processes have left in ``parent`` are removed, too. Raises OSError.
    """
    remove_temporaries(parent)
    folder, lock = _new_temporary(parent)
    try:
        inside = folder / "inside"  # where any name is free
        inside.mkdir()
        yield inside
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


def _new_temporary(parent: Path) -> tuple[Path, IO[bytes] | None]:
    for _ in range(_TRIES):  # somebody who cleans up may be quicker with the lock of a new folder
        folder = parent / f"{_BEGIN}{uuid4().hex[:12]}{_END}"
        try:
            lock = hold(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if lock is not None:
            return folder, lock
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()  # a file system without locks, where nobody can clean up either
    return folder, None


def is_temporary(path: Path) -> bool:
    """Whether this is a folder that ``temporary_folder`` has made."""
    return path.name.startswith(_BEGIN) and path.name.endswith(_END) and path.is_dir() and not path.is_symlink()


def remove_temporaries(parent: Path) -> None:
    """Remove what killed processes have left in ``parent``; what a living one holds stays."""
    with suppress(OSError):
        for path in parent.iterdir():
            if is_temporary(path):
                remove_dead(path)
