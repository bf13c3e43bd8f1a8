"""Names that a reader has given to filters: typed into the page, exported by it, shown wherever a filter is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files.json import read_object

SCHEMA = "ddeep.names/1"
LONGEST = 80  # characters of a name


def names_key(document: Mapping[str, Any]) -> str:
    """What a filter's number means something for: the network's weights, and the layer."""
    return f"{(document.get('hashes') or {}).get('weights', '')}:{document['layer']}"


def read_names(path: Path, document: Mapping[str, Any], filters: int) -> dict[int, str]:
    """The names in a file that the page has exported, by filter.

    Raises DataError for another file, names that are none, and names for another network or layer than the run's.
    """
    try:
        found = read_object(path)
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the names in {path}: {error}.") from None
    if found.get("schema") != SCHEMA or not isinstance(found.get("names"), dict):
        raise DataError(f"{path} holds no names of filters. Give the file that the page's “Export names” has saved.")
    if found.get("of") != names_key(document):
        raise DataError(
            f"The names in {path} are for filters of other weights or of another layer than those of this run "
            f"(layer {document['layer']!r}). Give the file that was exported from a page of the same network."
        )
    names = {}
    for number, name in found["names"].items():
        if not (number.isdecimal() and int(number) < filters and isinstance(name, str) and len(name) <= LONGEST):
            raise DataError(
                f"{path}: {number!r}: {str(name)[:40]!r} is no name of a filter. Numbers go from 0 to {filters - 1}, "
                f"names have at most {LONGEST} characters."
            )
        if name.strip():
            names[int(number)] = name.strip()
    return names
