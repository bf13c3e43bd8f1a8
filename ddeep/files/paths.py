"""Where results and caches live."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from ..errors import CacheError

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_OF_ANOTHER = "It is another user's, or may only be read: set DDEEP_CACHE to a folder of your own."
_APART = str.maketrans("/\\:", "---")


def cache_root() -> Path:
    """The folder of all caches: ``$DDEEP_CACHE``, or the user's cache folder.

    Raises CacheError where there is one that this user may not read.
    """
    chosen = os.environ.get("DDEEP_CACHE")
    root = Path(chosen) if chosen else user_cache_path("ddeep")
    if root.is_dir() and not os.access(root, os.R_OK | os.X_OK):
        raise CacheError(f"The cache, {root}, may not be read. {_OF_ANOTHER}")
    return root


@contextmanager
def cache_writing(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that says how to put the cache elsewhere."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _OF_ANOTHER if error.errno in _DENIED else "Free the space, or set DDEEP_CACHE to another folder."
        raise CacheError(f"Cannot write to the cache, {path}: {reason}. {advice}") from error


def inside(folder: Path, name: str) -> Path:
    """The place ``name`` in a folder that may be a stranger's. Raises CacheError where a link leads elsewhere."""
    place = folder / name
    if place.is_symlink():
        raise CacheError(f"{place} is a link, and nothing is written through it. Remove it, or choose another --out.")
    return place


def default_out(*parts: object) -> Path:
    """A result's folder of its own: ``runs/<time>-<part>-<part>…``, numbered where another one took that second."""
    name = "-".join([time.strftime("%Y%m%d-%H%M%S"), *(str(part).translate(_APART) for part in parts)])
    return next(place for place in beside(Path("runs") / name) if not os.path.lexists(place))


def beside(out: Path) -> Iterator[Path]:
    """``out``, then ``out``-2, ``out``-3 and so on."""
    yield out
    for number in itertools.count(2):
        yield out.with_name(f"{out.name}-{number}")
