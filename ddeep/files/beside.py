"""Tables too large for JSON: in a file of tensors beside the document, which names them where they were."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .regular import require_inside, require_readable

MOST = 2**16  # numbers of a table in JSON
MOST_BYTES = 2 * 2**30  # of the file
_FILE, _TENSOR = "table_file", "table"
Table = list[list[int | float | None] | None]


def name_beside(path: Path) -> str:
    """The name of the file that holds the tables of the document ``path``."""
    return f"{path.stem}.tables.safetensors"


def taken_out(document: Mapping[str, Any], file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """``document`` with what says where a table is in place of each large one, and the tables as arrays, by name.

    A table is a list of rows of numbers, of one length; None stands for a row, or a number, that is not there.
    """
    tables: dict[str, Any] = {}

    def outside(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {key: outside(one, f"{name}.{key}" if name else str(key)) for key, one in value.items()}
        if getattr(value, "ndim", 0) == 2:  # an array or a tensor
            value = value.tolist()
        if not isinstance(value, list):
            return value
        if _is_large(value):
            while name in tables:  # keys may hold full stops
                name += "."
            tables[name] = _array(value)
            return {_FILE: file, _TENSOR: name}
        return [outside(one, f"{name}.{at}") for at, one in enumerate(value)] if _has_parts(value) else value

    return outside(document, ""), tables


def put_back(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """``document``, read from ``path``, with its tables as they were. Raises ValueError where they are not there."""
    names = list(_named(document, name_beside(path)))
    if not names:
        return document
    tables = _read(path.with_name(name_beside(path)), names)

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_FILE, _TENSOR}:
                return _listed(tables[value[_TENSOR]])
            return {key: inside(one) for key, one in value.items()}
        return [inside(one) for one in value] if isinstance(value, list) and _has_parts(value) else value

    found: dict[str, Any] = inside(document)
    return found


def write_beside(tables: Mapping[str, Any], path: Path) -> None:
    """Write the tables of the document ``path``."""
    import torch

    from .tensors import write_tensors

    write_tensors({name: torch.from_numpy(table) for name, table in tables.items()}, path.with_name(name_beside(path)))


def _is_large(value: list[Any]) -> bool:
    rows = [row for row in value if row is not None]
    if not rows or not all(isinstance(row, list) for row in rows):
        return False
    width = len(rows[0])
    if len(value) * width <= MOST or any(len(row) != width for row in rows):
        return False
    if any(all(one is None for one in row) for row in rows):  # which would come back as a row that is not there
        return False
    return all(one is None or type(one) in (int, float) for row in rows for one in row)


def _has_parts(value: list[Any]) -> bool:
    return any(isinstance(one, dict | list) for one in value)


def _array(value: Table) -> Any:
    """Whole numbers where all are; else float64, in which NaN stands for None."""
    import numpy as np

    width = len(next(row for row in value if row is not None))
    whole = all(row is not None and all(type(one) is int for one in row) for row in value)
    table = np.full((len(value), width), 0 if whole else math.nan, np.int64 if whole else np.float64)
    for number, row in enumerate(value):
        if row is not None:
            table[number] = [math.nan if one is None else one for one in row]
    return table


def _listed(table: Any) -> Table:
    if table.dtype.kind == "i":
        rows: Table = table.tolist()
        return rows
    missing = ~(abs(table) < math.inf)
    return [
        None if gone.all() else [None if no else one for one, no in zip(row.tolist(), gone, strict=True)]
        for row, gone in zip(table, missing, strict=True)
    ]


def _named(value: Any, file: str) -> Iterator[str]:
    if isinstance(value, dict):
        if value.keys() == {_FILE, _TENSOR}:
            if value[_FILE] != file or not isinstance(value[_TENSOR], str):
                raise ValueError(f"it names a table that is not in {file}")
            yield value[_TENSOR]
            return
        for one in value.values():
            yield from _named(one, file)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                yield from _named(one, file)


def _read(path: Path, names: list[str]) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        require_inside(path.parent, path.name)
        require_readable(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.name} is larger than {MOST_BYTES >> 30} GiB")
        with safe_open(path, framework="numpy") as file:
            tables = {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise ValueError(f"{path.name}, which holds its tables, cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise ValueError(f"{path.name}, which holds its tables, is damaged: {error}") from None
    for name, table in tables.items():
        if table.ndim != 2 or str(table.dtype) not in ("int64", "float64"):
            raise ValueError(f"{path.name} holds no table {name[:60]!r}")
    return tables
