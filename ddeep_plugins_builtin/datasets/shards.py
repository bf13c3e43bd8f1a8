"""Tar shards in the layout of WebDataset: read where they lie, through an index of their headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from glob import glob
from itertools import product
from pathlib import Path

import torch

from ddeep.plugin import (
    DataError,
    DatasetSpec,
    Images,
    PicturesInside,
    in_memory_if_small,
    indexed_images,
    note,
    progress,
    read_classes,
)

from .tar_index import TarIndex, index_tar

_SPLITS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "eval")}
_MOST_SHARDS = 1_000_000


def spec(pattern: str) -> DatasetSpec:
    """The shards that ``pattern`` stands for: a folder, or file names with ``*`` and ``{000..127}``, ``{a,b}``."""
    return DatasetSpec(
        f"wds:{pattern}",
        open=partial(open_shards, pattern),
        summary="tar shards in the layout of WebDataset",
        source="github.com/webdataset/webdataset",
    )


def open_shards(pattern: str, data_dir: Path, split: str) -> Images:
    """The labelled pictures of the shards whose names say ``split``, in the order of names and of each tar.

    Looked for from the current folder, else from ``data_dir``. The classes are the lines of ``classes.txt`` beside the
    shards; without it, the names that the train shards' labels are, sorted, or as many numbers as they go up to.
    Raises DataError for shards, labels or splits that are missing.
    """
    shards = find_shards(pattern, Path(data_dir))
    indexes = {name: [] for name in shards}
    wanted = ("train",) if split == "train" else ("train", "test")
    with progress("Reading the headers of shards", sum(len(shards[name]) for name in wanted)) as advance:
        for name in wanted:
            for path in shards[name]:
                indexes[name].append(index_tar(path))
                advance(1)
    classes = _classes(shards["train"], indexes["train"], indexes["test"])
    return in_memory_if_small(_opened(shards[split], indexes[split], classes))


def find_shards(pattern: str, data_dir: Path) -> dict[str, list[Path]]:
    """The tars of both splits, sorted by name. Raises DataError where there are none, or a name says no split."""
    for root in (Path(), data_dir):
        found = sorted({path for one in _expanded(pattern) for path in _matching(root / one)})
        if found:
            break
    else:
        raise DataError(
            f"There are no shards {pattern}, from here or from {data_dir}. Name a folder of .tar files, or a pattern "
            "such as 'shards/{train,val}-*.tar'."
        )
    splits: dict[str, list[Path]] = {}
    for path in found:
        word = _word(path)
        if word is None:
            raise DataError(
                f"{path}: its name says neither train nor test (or val): shards are told apart by that. Rename it."
            )
        splits.setdefault(word, []).append(path)
    test = next((splits[word] for word in _SPLITS["test"] if word in splits), [])
    train = [path for word in _SPLITS["train"] for path in splits.get(word, [])]
    if not train or not test:
        raise DataError(f"{pattern} has no {'test' if train else 'train'} shards: no name with that word in it.")
    return {"train": train, "test": test}


def _expanded(pattern: str) -> list[str]:
    """``{000..127}`` and ``{a,b}`` written out, as shells and WebDataset do."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[text] if at % 2 == 0 else _alternatives(text) for at, text in enumerate(parts)]
    count = 1
    for one in choices:
        count *= len(one)
    if count > _MOST_SHARDS:
        raise DataError(f"{pattern} stands for {count:,} shards, more than {_MOST_SHARDS:,}.")
    return ["".join(chosen) for chosen in product(*choices)]


def _alternatives(text: str) -> list[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if span is None:
        return text.split(",")
    first, last = int(span[1]), int(span[2])
    if abs(last - first) >= _MOST_SHARDS:
        raise DataError(f"{{{text}}} stands for more than {_MOST_SHARDS:,} shards.")
    return [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]


def _matching(path: Path) -> list[Path]:
    if path.is_dir():
        return [one for one in path.rglob("*.tar") if one.is_file()]
    return [one for one in map(Path, glob(str(path), recursive=True)) if one.is_file()]  # noqa: PTH207 - of any root


def _word(path: Path) -> str | None:
    """The split that a word in a shard's name says, or else the name of its folder."""
    known = [word for words in _SPLITS.values() for word in words]
    said = set(re.split(r"[^a-z]+", path.name.lower()))
    own = next((word for word in known if word in said), None)
    return own or next((word for word in known if word == path.parent.name.lower()), None)


def _classes(paths: Sequence[Path], train: Sequence[TarIndex], test: Sequence[TarIndex]) -> list[str]:
    listed = read_classes(paths[0].parent / "classes.txt")
    texts = {text for index in train for text in index.texts}
    strange = {text for index in test for text in index.texts} - texts
    if all(text.isdecimal() for text in texts | strange):
        highest = max(map(int, texts | strange), default=0)
        if listed is not None and highest >= len(listed):
            raise DataError(f"{paths[0].parent / 'classes.txt'} names {len(listed)} classes; a label is {highest}.")
        if highest > 10_000_000:
            raise DataError(f"A label of {paths[0].parent} is {highest}: that is no class number.")
        return listed or [str(number) for number in range(highest + 1)]
    known = listed or sorted(texts)
    if unknown := (texts | strange) - set(known):
        raise DataError(f"The label {min(unknown)!r} is none of the {len(known)} classes of the train shards.")
    return known


def _opened(paths: Sequence[Path], indexes: Sequence[TarIndex], classes: Sequence[str]) -> Images:
    texts = {text for index in indexes for text in index.texts}
    numbers = all(text.isdecimal() for text in texts)
    label_of = {text: int(text) if numbers else classes.index(text) for text in texts}
    pictures, labels = PicturesInside(paths), []
    for number, index in enumerate(indexes):
        labels.append(torch.tensor([label_of[text] for text in index.texts], dtype=torch.int64)[index.label])
        for offset, size, name in zip(index.offsets.tolist(), index.sizes.tolist(), index.names(), strict=True):
            pictures.append(number, offset, size, name)
    if odd := sum(index.odd for index in indexes):
        first = next(index.first_odd for index in indexes if index.odd)
        note(f"{odd} samples of {paths[0].parent} are passed over, such as {first!r}: they hold no picture.")
    return indexed_images(pictures, torch.cat(labels), classes, pictures.listing(), paths)
