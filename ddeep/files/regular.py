"""The way to open files that others have written: regular ones alone, and never waiting for one that does not end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def require_readable(path: Path) -> None:
    """Raise OSError unless ``path`` is a regular file that may be read: for libraries that open files themselves."""
    open_regular(path).close()


def open_regular(path: Path) -> BufferedReader:
    """``path`` opened for reading, if it is a regular file. Raises OSError."""
    _refuse(path.stat(), path)  # looked at before it is opened, which would wait for a pipe
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse(os.fstat(descriptor), path)  # another one may have taken its place
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor
    except BaseException:
        os.close(descriptor)
        raise


def require_inside(folder: Path, name: str) -> None:
    """Raise ValueError where ``name`` leads out of ``folder``: whoever sent the folder may not know what is there."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} is a link out of {folder}")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """What a regular file holds. Raises OSError, and ValueError where it is larger than ``most_bytes``."""
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes >> 20} MiB")
    return content


def _refuse(status: os.stat_result, path: Path) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file", str(path))
