"""Another user, for tests that root runs, too: nothing is forbidden to root."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def somebody_else() -> Iterator[None]:
    """While the block runs, this process may do no more than another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter and write to, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """New files get no more rights than this leaves."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
