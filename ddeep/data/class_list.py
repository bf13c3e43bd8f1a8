"""A list of class folders in the order of a network's outputs. Without torch: settings read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..files.regular import read_bounded

_MOST_BYTES = 2**24


def read_classes(path: Path) -> list[str] | None:
    """The class folders that a file lists, one a line, in the order of the network's outputs; None without the file.

    Raises DataError unless it names two or more, each once.
    """
    if not path.exists():
        return None
    try:
        lines = read_bounded(path, _MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. It should name one class folder a line.") from None
    names = [line.strip() for line in lines if line.strip()]
    check_classes(names, str(path))
    return names


def check_classes(names: Sequence[str], where: str) -> None:
    """DataError unless a list names two or more class folders, each once; ``where`` says whose list it is."""
    seen: set[str] = set()
    twice = next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    if twice is not None or len(names) < 2:
        what = f"names {twice!r} twice" if twice is not None else f"names {len(names)} classes"
        raise DataError(f"{where} {what}. It should name two or more class folders, one a line, each once.")
