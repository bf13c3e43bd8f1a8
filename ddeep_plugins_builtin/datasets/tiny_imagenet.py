"""Tiny ImageNet: its own layout, with the classes of val/ in a list, or class folders throughout."""

from __future__ import annotations

from pathlib import Path

from ddeep.plugin import (
    DataError,
    Images,
    are_small,
    as_tensor_images,
    class_folders,
    open_annotated,
    open_class_folders,
)

from .wordnet import names_of, read_list

_PLACES = ("tiny-imagenet-200", "tiny-imagenet", ".")
_LIST = "val_annotations.txt"


def open_tiny_imagenet(data_dir: Path, split: str) -> Images:
    """Images of the classes that ``train/`` holds, in the order of their WordNet ids; ``val/`` is the test split.

    Looked for under ``data_dir``, its ``tiny-imagenet-200`` and ``tiny-imagenet``.
    """
    root = _root(Path(data_dir))
    folders = class_folders(root / "train")
    names = names_of(folders)
    if split == "train":
        images = open_class_folders(root / "train", folders, names)
    elif (root / "val" / _LIST).is_file():
        annotations = _annotations(root / "val" / _LIST)
        images = open_annotated(root / "val" / "images", annotations, folders, names)
    else:
        images = open_class_folders(root / "val", folders, names)
    return as_tensor_images(images) if are_small(images) else images


def _root(data_dir: Path) -> Path:
    for place in _PLACES:
        if (data_dir / place / "train").is_dir():
            return data_dir / place
    raise DataError(
        f"Tiny ImageNet is not under {data_dir}. Unpack tiny-imagenet-200.zip there, so that "
        f"{data_dir / _PLACES[0]}/train and {data_dir / _PLACES[0]}/val exist, or choose --data-dir."
    )


def _annotations(listed: Path) -> dict[str, str]:
    """File name to WordNet id, from lines such as ``val_0.JPEG  n03444034  0  32  44  62`` (tabs between)."""
    rows = [line.split("\t") for line in read_list(listed) if line]
    if not rows or any(len(row) < 2 for row in rows):
        raise DataError(f"{listed} should hold lines of a file name, a WordNet id and a box, with tabs between.")
    return {row[0]: row[1] for row in rows}
