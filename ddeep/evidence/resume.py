"""What an unfinished pass has gathered so far, on disk, so that a killed pass goes on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import console
from ..errors import ConfigError
from ..files.atomic import new_rows
from ..files.cache import cache_part
from ..files.locks import hold
from ..files.paths import cache_writing
from ..files.regular import require_readable
from ..files.tensors import write_tensors
from ..networks.layer import Layer
from .collector import Collector

SAVE_EVERY = 30.0  # seconds
# What reading a damaged state may raise.
_UNREADABLE = (SafetensorError, ConfigError, OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError)
_SEEN = "seen"


class PartialPass:
    """A folder for the responses and states of one pass; ``key`` holds all that the pass depends on.

    While another command works on the same pass, this one uses a folder of its own and cannot be resumed.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.folder = cache_part("passes") / name
        self._lock = self._held()
        if self._lock is None:
            self.folder = self.folder.with_name(f"{name}.{uuid4().hex[:12]}")
            self._lock = self._held()
        self._rows: dict[Layer, np.memmap[Any, np.dtype[np.float32]]] = {}
        self._new: set[Layer] = set()  # layers whose rows this attempt has made
        self._saved = time.monotonic()

    def _held(self) -> IO[bytes] | None:
        """The folder's lock; None while another command holds it."""
        with cache_writing(self.folder):
            return hold(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interrupted pass stays, to be resumed; one that failed would fail again, a finished one is not needed.
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def path(self, layer: Layer) -> Path:
        """The file of a layer's responses."""
        name = hashlib.sha256(repr(layer).encode()).hexdigest()[:16]
        return self.folder / f"{name}.npy"

    def rows(self, layer: Layer, images: int, filters: int) -> Tensor:
        """The mapped responses ``(images, filters)`` of a layer, those of an earlier attempt if they are there.

        Rows that nobody has written are zero.
        """
        path, shape = self.path(layer), (images, filters)
        if path.exists():
            try:
                require_readable(path)
                size = path.stat().st_size
                rows = np.lib.format.open_memmap(path, mode="r+")  # which lengthens a file that is too short
                if rows.shape == shape and rows.dtype == np.float32 and rows.offset + rows.nbytes == size:
                    self._rows[layer] = rows
                    return torch.from_numpy(rows)
            except Exception:
                pass  # damaged: begin anew; reading its header may raise nearly anything
        self._new.add(layer)
        with cache_writing(path):
            self._rows[layer] = new_rows(path, images, filters)
        return torch.from_numpy(self._rows[layer])

    def flush(self) -> None:
        """Write the responses so far to disk."""
        for rows in self._rows.values():
            rows.flush()

    def save_now_and_then(self, batches: int, seen: Tensor, collector: Collector) -> None:
        """Save the pass after ``batches`` batches, if the last time is long ago."""
        if time.monotonic() - self._saved < SAVE_EVERY:
            return
        tensors = {_SEEN: seen.cpu()}
        filters = {}
        for number, (layer, gathered) in enumerate(collector.layers.items()):
            filters[repr(layer)] = gathered.filters
            for name, tensor in gathered.state().items():
                tensors[f"{number}.{name}"] = tensor
        self.flush()
        about = {"batches": str(batches), "filters": json.dumps(filters)}
        write_tensors(tensors, self.folder / "state.safetensors", about)
        self._saved = time.monotonic()

    def resume(self, collector: Collector, seen: Tensor) -> int:
        """Bring ``collector`` and ``seen`` to where the last attempt was saved; return the batches done."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return 0
        try:
            require_readable(path)
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            filters, batches = json.loads(about["filters"]), int(about["batches"])
            ordered = sorted(collector.plan, key=lambda layer: list(filters).index(repr(layer)))
            for number, layer in enumerate(ordered):
                collector.begin(layer, filters[repr(layer)])
                mine = {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{number}.")}
                collector.layers[layer].load_state(mine)
            if self._new:
                raise ValueError("its responses are missing or damaged")
            if batches < 0:
                raise ValueError(f"{batches} batches")
            seen.copy_(tensors[_SEEN])
        except _UNREADABLE as error:
            console.warn(f"What an interrupted pass left in {self.folder} is of no use ({error}); it begins anew.")
            collector.layers.clear()
            seen.zero_()
            return 0
        console.note(f"Going on with an interrupted pass: {int(seen.sum())} images are done.")
        return batches
