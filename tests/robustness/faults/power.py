"""Power cuts, played through: what may be on the disk at every moment, by what has been synced until then.

A recorder looks at a folder before and after each of a command's file operations. What has changed and was not synced
may or may not survive, each change by itself and in any order, and a content may be torn: the rules of POSIX, which
promise less than most file systems keep (as in SQLite's tests).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_WATCHED = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")
_TORN = "torn"
MOST_STATES = 4096

State = dict[str, str]  # path below the root to the hash of its content; folders end with a slash


@dataclass
class Disk:
    """What may be on it: for every name and for every content the possible values, the latest last."""

    root: Path
    sync: bool = True  # else as if nothing were ever synced
    names: dict[tuple[int, str], list[int | None]] = field(default_factory=dict)  # (folder, name) to what it names
    contents: dict[int, list[str]] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    number: dict[int, int] = field(default_factory=dict)  # of each inode there is; inodes are used again
    made: Iterator[int] = field(default_factory=itertools.count)

    def look(self) -> None:
        """Take in what has changed since the last look."""
        seen: dict[int, int] = {}
        there: dict[tuple[int, str], int] = {}
        for place, names, files in os.walk(self.root):
            folder = self._identify(place, seen)
            self.folders.add(folder)
            for name in (*names, *files):
                there[folder, name] = self._identify(os.path.join(place, name), seen)  # noqa: PTH118
            for name in files:
                self._take_content(Path(place, name), there[folder, name])
        for key in {*self.names, *there}:
            values = self.names.setdefault(key, [None])
            if values[-1] != there.get(key):
                values.append(there.get(key))
        self.number = seen

    def _identify(self, path: str, seen: dict[int, int]) -> int:
        inode = os.lstat(path).st_ino
        if inode not in seen:
            seen[inode] = self.number[inode] if inode in self.number else next(self.made)
        return seen[inode]

    def _take_content(self, path: Path, file: int) -> None:
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "link"
        values = self.contents.setdefault(file, [hashlib.sha256(b"").hexdigest()])
        if values[-1] != content:
            values += [_TORN, content]

    def synced(self, inode: int) -> None:
        """What is known of a file's content or of a folder's names is on the disk now."""
        identity = self.number.get(inode)
        if identity is None or not self.sync:
            return
        if identity in self.contents:
            self.contents[identity] = self.contents[identity][-1:]
        for key, values in self.names.items():
            if key[0] == identity:
                self.names[key] = values[-1:]

    def states(self) -> Iterator[State]:
        """All that a power cut may leave now, temporary folders left out."""
        root = self.number[os.lstat(self.root).st_ino]
        for number, state in enumerate(self._of_folder(root, "")):
            assert number < MOST_STATES, "too many states to look at"
            yield state

    def _of_folder(self, folder: int, prefix: str) -> Iterator[State]:
        mine = [(name, values) for (place, name), values in self.names.items() if place == folder]
        parts = [list(self._of_name(prefix + name, values)) for name, values in sorted(mine) if _final(prefix + name)]
        for chosen in itertools.product(*parts):
            yield {path: content for part in chosen for path, content in part.items()}

    def _of_name(self, path: str, values: list[int | None]) -> Iterator[State]:
        for value in dict.fromkeys(values):
            if value is None:
                yield {}
            elif value in self.folders:
                yield from ({path + "/": "", **inside} for inside in self._of_folder(value, path + "/"))
            else:
                yield from ({path: content} for content in dict.fromkeys(self.contents[value]))


def _final(path: str) -> bool:
    """Whether somebody would read it: not temporary folders, locks, and passes, which have checks of their own."""
    name = path.rpartition("/")[2]
    return not (name.startswith(".ddeep-") and name.endswith(".tmp")) and name not in ("lock", "passes")


@contextmanager
def recorded(root: Path, check: Callable[[State], None], *, sync: bool = True) -> Iterator[None]:
    """Call ``check`` with every state that a power cut at any moment of the block may leave of ``root``."""
    disk = Disk(root, sync)
    disk.look()
    disk.names = {key: values[-1:] for key, values in disk.names.items()}  # what was there before is on the disk
    disk.contents = {file: values[-1:] for file, values in disk.contents.items()}
    known: set[frozenset[tuple[str, str]]] = set()

    def check_all() -> None:
        for state in disk.states():
            frozen = frozenset(state.items())
            if frozen not in known:
                known.add(frozen)
                check(state)

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            disk.look()
            check_all()
            inode = os.fstat(args[0]).st_ino if name == "fsync" else None
            result = real(*args, **kwargs)
            disk.look()
            if inode is not None:
                disk.synced(inode)
            check_all()
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in _WATCHED:
            patch.setattr(os, name, watched(name))
        yield
        disk.look()
        check_all()


def hash_of(content: bytes) -> str:
    """As states hold it."""
    return hashlib.sha256(content).hexdigest()
