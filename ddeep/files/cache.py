"""The cache's folder as such: marked as ddeep's own, cleared of nothing that is not, never through links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CacheError
from .atomic import written_whole
from .locks import is_temporary, remove_dead
from .paths import cache_root, cache_writing

# The folders under the cache's root, and what ddeep calls its entries there.
PARTS = {
    "responses": re.compile(r"[0-9a-f]{32}"),
    "passes": re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{12})?"),
    "datasets": re.compile(r"\w+-pillow-[\w.+-]+\.npy"),
    "contents": re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\.safetensors"),
    "streams": re.compile(r"[0-9a-f]{32}\.pictures"),
    "indexes": re.compile(r"[0-9a-f]{32}\.safetensors"),
}
_INSIDE = re.compile(
    r"about\.json|responses\.npy|(state|probe)\.safetensors|[0-9a-f]{16}\.npy|\w+-[0-9a-f]{16}\.safetensors"
)
MARKER = ".ddeep-cache"
_TAG = "CACHEDIR.TAG"  # https://bford.info/cachedir/: backups leave such folders out
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of ddeep; `ddeep cache clear` empties it.\n"


@dataclass
class Cleared:
    """What clearing has done: bytes freed, and what it found and left.

    ``kept`` because ddeep does not make such a thing, ``denied`` because another user's may not be removed.
    """

    freed: int = 0
    kept: list[Path] = field(default_factory=list)
    denied: list[Path] = field(default_factory=list)


def cache_part(name: str) -> Path:
    """The folder ``name`` (of ``PARTS``) of the cache, made where it is absent; a new cache is marked as one.

    A folder that holds other things gets no mark: backups would leave those out.
    """
    root = cache_root()
    with cache_writing(root):
        if not (root / MARKER).exists() and not strangers(root):
            root.mkdir(parents=True, exist_ok=True)
            for mark, text in ((_TAG, _SIGNATURE), (MARKER, "ddeep.cache/1\n")):
                with written_whole(root / mark) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        (root / name).mkdir(parents=True, exist_ok=True)
    return root / name


def entries(name: str) -> Iterator[Path]:
    """What is in the part ``name`` of the cache under a name that ddeep gives; links never."""
    return entries_in(cache_root() / name, PARTS[name])


def entries_in(folder: Path, own: re.Pattern[str]) -> Iterator[Path]:
    """What is in ``folder`` under a name of the form ``own``, in order; links never."""
    for path in _children(folder) if not folder.is_symlink() else ():
        if own.fullmatch(path.name) and not path.is_symlink():
            yield path


def size_of(folder: Path) -> int:
    """Bytes of all files under ``folder``, not through links; those that vanish meanwhile do not count."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += _bytes(Path(place, name))
    return total


def strangers(root: Path) -> list[Path]:
    """What lies in ``root`` that no cache of ddeep's holds."""
    found = []
    for path in _children(root):
        if path.name in (MARKER, _TAG) or is_temporary(path):
            continue
        if path.name not in PARTS or path.is_symlink() or not path.is_dir():
            found.append(path)
            continue
        own = PARTS[path.name]
        found += [p for p in _children(path) if not is_temporary(p) and (p.is_symlink() or not own.fullmatch(p.name))]
    return found


def clear_cache() -> Cleared:
    """Remove the cache, converted datasets included. What is being written is left alone.

    Only what ddeep names is removed, and nothing behind a link. Raises CacheError, before anything is removed, where
    the folder is not ddeep's own.
    """
    root, cleared = cache_root(), Cleared()
    if not (root / MARKER).exists() and (other := strangers(root)):
        raise CacheError(
            f"{root} is not ddeep's own: it holds {other[0].relative_to(root)}. Nothing has been removed. "
            "Set DDEEP_CACHE to a folder that holds nothing else, or remove what you know by hand."
        )
    cleared.kept += strangers(root)
    for unfinished in entries("passes"):
        size = size_of(unfinished)
        cleared.freed += size if remove_dead(unfinished) else 0
    for name in ("responses", "datasets", "contents", "streams", "indexes"):
        if not (root / name).is_symlink():
            _clear(root / name, PARTS[name], cleared)
    return cleared


def _clear(folder: Path, own: re.Pattern[str], cleared: Cleared) -> None:
    """Remove from ``folder`` what bears a name of ddeep's, but nothing that a living process holds."""
    for path in _children(folder):
        if is_temporary(path):
            size = size_of(path)
            cleared.freed += size if remove_dead(path) else 0
        elif path.is_symlink() or not own.fullmatch(path.name):
            continue  # a stranger's
        elif path.is_dir():
            _clear_entry(path, cleared)
        else:
            _unlink(path, cleared)


def _clear_entry(folder: Path, cleared: Cleared) -> None:
    for path in _children(folder):
        if path.name == "responses" and path.is_dir() and not path.is_symlink():
            _clear_entry(path, cleared)
        elif is_temporary(path):
            size = size_of(path)
            cleared.freed += size if remove_dead(path) else 0
        elif path.is_symlink() or not _INSIDE.fullmatch(path.name):
            cleared.kept.append(path)
        else:
            _unlink(path, cleared)
    with suppress(OSError):  # it holds what a command is writing, or what is not ddeep's
        folder.rmdir()


def _unlink(path: Path, cleared: Cleared) -> None:
    try:
        size = _bytes(path)
        path.unlink()
        cleared.freed += size
    except FileNotFoundError:
        pass  # another command was faster
    except OSError:
        cleared.denied.append(path)


def _bytes(path: Path) -> int:
    """A file's size as far as its last name is concerned: with another name it frees nothing. Links have none."""
    status = path.lstat()
    return status.st_size if status.st_nlink == 1 and not path.is_symlink() else 0


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
