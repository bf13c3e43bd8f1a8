"""The response cache: responses and statistics on disk, keyed by the content of everything they depend on.

An entry is written under a temporary name and renamed, and its hash and its own key are checked before it is used: a
half-written, damaged or misplaced entry is removed and gathered again, never trusted. Two commands may fill one entry
at once; the first wins.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import console
from ..errors import CacheError
from ..files.atomic import map_array, sha256_of, written_whole
from ..files.cache import cache_part, entries, size_of
from ..files.json import read_object, write_json
from ..files.locks import is_temporary, remove_dead, remove_temporaries
from ..files.paths import cache_root
from ..files.regular import require_readable
from ..files.tensors import write_tensors
from ..networks.layer import close
from ..statistics.statistic import Statistic
from .code import code_hash

VERSION = 3  # raise it when responses or statistics change their meaning, or entries their form

PROBE, PROBE_TOLERANCE = "probe.safetensors", 1e-4  # of the largest number


@dataclass(frozen=True)
class CacheEntry:
    """What is known of one layer over one split. ``key`` holds the hashes and settings it depends on.

    ``probe`` is what the network gives for a few fixed images: no key can hold all that a network computes by, so an
    entry of a network that gives something else is removed, too.
    """

    key: dict[str, Any]
    root: Path = field(default_factory=lambda: cache_root() / "responses")
    probe: Mapping[str, Tensor] | None = field(default=None, compare=False)

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return self.root / _name(self.key, VERSION)

    def check_probe(self) -> None:
        """Remove the entry where the network does not give what it gave when the entry was made."""
        path = self.folder / PROBE
        if self.probe is None or not self.folder.exists():
            return
        try:
            require_readable(path)
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                before = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if about != self._about(before):
                raise ValueError("its content does not match its hash")
        except FileNotFoundError:
            before = {}
        except PermissionError:
            return  # what cannot be read is not used either
        except (SafetensorError, OSError, ValueError) as error:
            self._discard(self.folder, str(error))
            return
        if not self._parts():  # somebody may be writing the first
            return
        if not before:
            self._discard(self.folder, "what tells its network is missing")
            return
        same = before.keys() == self.probe.keys() and all(
            close(before[name], now, PROBE_TOLERANCE) for name, now in self.probe.items()
        )
        if not same:
            self._discard(self.folder, "it is of another network: this one responds otherwise to the same images")

    def _keep_probe(self) -> None:
        if self.probe is not None and not (self.folder / PROBE).exists():
            write_tensors(self.probe, self.folder / PROBE, self._about(self.probe))

    def _about(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        return {"entry": self.folder.name, "sha256": _digest(dict(state))}

    def responses(self) -> Float[Tensor, "n k"] | None:
        """The cached responses, memory-mapped, or None."""
        folder = self.folder / "responses"
        try:
            about = read_object(folder / "about.json")
            if about["key"] != json.loads(json.dumps(self.key)):
                raise ValueError("it belongs to another entry")
            if about["sha256"] != sha256_of(folder / "responses.npy"):
                raise ValueError("its content does not match its hash")
            rows = map_array(folder / "responses.npy", "c")
            if rows.dtype != np.float32 or rows.ndim != 2:
                raise ValueError(f"it holds {rows.ndim} dimensions of {rows.dtype}")
            return torch.from_numpy(rows)
        except FileNotFoundError:
            if folder.exists():
                self._discard(folder, "a part of it is missing")
        except PermissionError:
            self._leave(folder)
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._discard(folder, str(error))
        return None

    def adopt(self, path: Path) -> None:
        """Take a finished file of responses, ``(N, K)`` float32 in numpy's format, by renaming it."""
        cache_part("responses")
        self._keep_probe()
        final = self.folder / "responses"
        try:
            with written_whole(final) as temporary:
                temporary.mkdir(parents=True)
                images, filters = map_array(path, "r").shape
                path.replace(temporary / "responses.npy")
                digest = sha256_of(temporary / "responses.npy")
                about = {"sha256": digest, "images": images, "filters": filters, "key": self.key, "version": VERSION}
                write_json(temporary / "about.json", about)
        except CacheError:
            if not final.exists():  # else another command was first, and its entry is as good
                raise

    def load(self, statistic: Statistic, classes: int) -> int | None:
        """Fill ``statistic`` from its saved state and return its number of filters; None if none can be trusted."""
        path = self._state_path(statistic)
        if not path.exists():
            return None
        try:
            require_readable(path)
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if about.get("entry") != self.folder.name:
                raise ValueError("it belongs to another entry")
            if about.get("sha256") != _digest(state):
                raise ValueError("its content does not match its hash")
            filters = int(about["filters"])
            if _form(state, statistic.sized) != _form(_empty(statistic, classes, filters), statistic.sized):
                raise ValueError("its shapes are not those expected")
        except PermissionError:
            self._leave(path)
            return None
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError) as error:
            self._discard(path, str(error))
            return None
        statistic.load_state(state)
        return filters

    def save(self, statistic: Statistic, filters: int) -> None:
        """Keep the state of a finished statistic."""
        cache_part("responses")
        self._keep_probe()
        state = statistic.state()
        about = {"sha256": _digest(state), "statistic": repr(statistic), "filters": str(filters)}
        about["entry"] = self.folder.name
        write_tensors(state, self._state_path(statistic), about)

    def _state_path(self, statistic: Statistic) -> Path:
        kind = type(statistic)
        name = f"{kind.__module__}.{statistic!r}.{code_hash([kind])}"
        return self.folder / f"{kind.__name__}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"

    def _leave(self, path: Path) -> None:
        console.warn(
            f"The cache entry {path} may not be read by this user (permission denied); it is gathered again. Ask its "
            "owner to let you read it, or set DDEEP_CACHE to a folder of your own."
        )

    def _discard(self, path: Path, reason: str) -> None:
        console.warn(f"The cache entry {path} cannot be trusted ({reason}); it is gathered again.")
        for part in self._parts() if path == self.folder else (path,):
            with suppress(OSError):  # what cannot be removed is refused again the next time
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        """What is in the entry's folder but for what other commands are just writing there."""
        with suppress(OSError):
            return [path for path in self.folder.iterdir() if not is_temporary(path)]
        return []


def check_entry(folder: Path) -> None:
    """Look whether all in an entry's folder is what was written there. Raises OSError and ValueError."""
    responses = folder / "responses"
    if responses.exists():
        about = read_object(responses / "about.json")
        key = about.get("key")
        # Another version of ddeep, which may share the cache, calls its entries otherwise; early ones do not say which.
        if not isinstance(key, dict) or ("version" in about and _name(key, about["version"]) != folder.name):
            raise ValueError("its responses belong to another entry")
        if about.get("sha256") != sha256_of(responses / "responses.npy"):
            raise ValueError("its responses do not match their hash")
    for path in sorted(folder.glob("*.safetensors")):
        require_readable(path)
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except SafetensorError as error:
            raise ValueError(f"{path.name}: {error}") from None
        if facts.get("entry") != folder.name or facts.get("sha256") != _digest(state):
            raise ValueError(f"{path.name} belongs to another entry, or does not match its hash")


def _name(key: Mapping[str, Any], version: object) -> str:
    text = json.dumps({**key, "version": version}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _form(state: Mapping[str, Tensor], sized: bool) -> dict[str, tuple[object, torch.dtype]]:
    return {name: (tensor.shape if sized else tensor.ndim, tensor.dtype) for name, tensor in state.items()}


def _empty(statistic: Statistic, classes: int, filters: int) -> dict[str, Tensor]:
    empty = statistic.twin()
    empty.start(classes, filters, "meta")  # where a number of filters that is made up takes no memory
    return {name: getattr(empty, name) for name in statistic.reductions()}


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class CacheRecord:
    """One entry as `ddeep cache` lists it."""

    folder: Path
    about: dict[str, Any]
    nbytes: int


def cache_records() -> list[CacheRecord]:
    """All entries of the response cache, the largest first."""
    records = [CacheRecord(folder, _about(folder), size_of(folder)) for folder in entries("responses")]
    return sorted(records, key=lambda record: record.nbytes, reverse=True)


def _about(folder: Path) -> dict[str, Any]:
    try:
        return read_object(folder / "responses" / "about.json")
    except (OSError, ValueError):
        return {}


def remove_leftovers() -> None:
    """Remove from the cache what killed commands have left and no other can go on with."""
    for folder in (cache_root() / "datasets", *entries("responses")):
        remove_temporaries(folder)
    for unfinished in entries("passes"):
        if "." in unfinished.name:  # of a command that was not alone (see ``PartialPass``)
            remove_dead(unfinished)
