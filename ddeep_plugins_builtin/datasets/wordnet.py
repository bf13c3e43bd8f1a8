"""ImageNet's 1,000 classes: WordNet ids in the order of every published network's outputs, and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ddeep.plugin import DataError, read_bounded

_MOST_BYTES = 64 * 2**20  # of a list; ImageNet's longest has 3 MB


@cache
def imagenet_ids() -> tuple[str, ...]:
    """The 1,000 WordNet ids, sorted: id i is output i."""
    return tuple(_timm_file("imagenet_synsets.txt").split())


@cache
def imagenet_names() -> tuple[str, ...]:
    """One name per id, in the same order."""
    return tuple(names_of(imagenet_ids()))


def names_of(wnids: Sequence[str]) -> list[str]:
    """A name for each id, all different: its first lemma, with the id where two share it (ImageNet has two cranes)."""
    first = [_lemmas().get(wnid, wnid).partition(",")[0] for wnid in wnids]
    count = Counter(first)
    return [name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True)]


@cache
def _lemmas() -> dict[str, str]:
    lines = _timm_file("imagenet_synset_to_lemma.txt").splitlines()
    pairs = (line.partition("\t") for line in lines)
    return {wnid: lemmas for wnid, _, lemmas in pairs}


def read_list(listed: Path) -> list[str]:
    """The lines of a text that belongs to a dataset. Raises DataError where it cannot be read."""
    try:
        return read_bounded(listed, _MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(f"Cannot read {listed}: {reason}.") from None


def _timm_file(name: str) -> str:
    """A list that timm ships, found without importing timm."""
    spec = find_spec("timm")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "data" / "_info" / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise DataError(f"The installed timm does not ship {name}, ImageNet's class list. Install timm 1.0.12 or newer.")
