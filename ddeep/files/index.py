"""What a scan of large files has found, kept in the cache for as long as the files stay as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import CacheError
from .atomic import written_whole
from .cache import cache_part
from .paths import cache_root
from .regular import require_readable

_ABOUT = "ddeep.index/1"
Arrays = dict[str, NDArray[Any]]


def kept_index(
    key: Mapping[str, Any], make: Callable[[], Arrays], holds: Callable[[Arrays], bool] | None = None
) -> Arrays:
    """The arrays that ``make`` gives, or gave when it was last asked for ``key``; a damaged entry is made anew, and one
    that does not hold any more.

    ``key`` is JSON-ready and says all that they depend on. A cache that cannot be written costs time the next time.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = cache_root() / "indexes" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
    with suppress(OSError, ValueError):
        found, about = _read(path)
        if about["key"] == text and (holds is None or holds(found)):
            return found
    arrays = make()
    with suppress(OSError, CacheError):
        cache_part("indexes")
        with written_whole(path) as temporary:
            about = {"key": text, "sha256": _hash(arrays)}
            temporary.write_bytes(save(arrays, {_ABOUT: json.dumps(about, sort_keys=True)}))
    return arrays


def check_index(path: Path) -> None:
    """Raise OSError or ValueError unless ``path`` is an entry as it was written."""
    _read(path)


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    require_readable(path)
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(about, dict) or about.get("sha256") != _hash(arrays):
        raise ValueError("it does not match its hash")
    return arrays, about


def _hash(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
