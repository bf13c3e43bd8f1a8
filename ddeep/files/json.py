"""JSON that nobody vouches for, read in bounded time and memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .regular import read_bounded

MAX_BYTES = 64 * 2**20
_DEEPEST = 32  # levels; ddeep's own files have six


def read_object(path: Path, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises OSError where it cannot be read or is no file, and ValueError, whose message says what is wrong with it,
    where it is larger than ``most_bytes``, not JSON, not an object, nested deeply, or has a key twice.
    """
    return parse_object(read_bounded(path, most_bytes))


def parse_object(content: str | bytes) -> dict[str, Any]:
    """The JSON object that a text holds. Raises ValueError as ``read_object`` does."""
    try:
        document = json.loads(content, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"it holds a {type(document).__name__}, not an object")
    _refuse_depth(document)
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the key {twice[:60]!r} twice")
    return document


def _refuse_depth(document: dict[str, Any]) -> None:
    """Whoever compares or prints a document goes into its depths by recursion."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _children(parent: Any) -> Iterable[Any]:
    return parent.values() if isinstance(parent, dict) else parent


def json_text(data: object) -> str:
    """``data`` as JSON. Not-a-number and infinities become null, arrays and tensors lists, paths text."""
    return json.dumps(_plain(data), allow_nan=False, indent=2)


def _plain(data: object) -> object:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if data is None or isinstance(data, str | int | bool):
        return data
    if isinstance(data, Path):
        return str(data)
    if hasattr(data, "tolist"):
        return _plain(data.tolist())
    raise TypeError(f"no JSON form for {type(data).__name__}: {data!r}")


def write_json(path: Path, data: object) -> None:
    """Write ``data`` as JSON, in the form that all of ddeep's files have. For a whole file: in ``written_whole``."""
    path.write_text(json_text(data) + "\n", encoding="utf-8")
