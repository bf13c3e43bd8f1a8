"""ImageNet in the folder layouts it is found in, whole or in part."""

from __future__ import annotations

import csv
from pathlib import Path

from ddeep.plugin import DataError, FileImages, open_annotated, open_class_folders

from .wordnet import imagenet_ids, imagenet_names, read_list

_PLACES = ("imagenet", "ILSVRC", "ILSVRC/Data/CLS-LOC", ".")
_SPLITS = {"train": "train", "test": "val"}
_KAGGLE_LIST = "LOC_val_solution.csv"


def open_imagenet(data_dir: Path, split: str) -> FileImages:
    """Images under ``train/<WordNet id>/`` or ``val/<WordNet id>/``, with ImageNet's 1,000 classes.

    Looked for under ``data_dir``, its ``imagenet``, ``ILSVRC`` and ``ILSVRC/Data/CLS-LOC``. Not all ids need be there.
    A flat ``val/`` is read with Kaggle's ``LOC_val_solution.csv`` beside ``ILSVRC`` or in it.
    """
    data_dir = Path(data_dir)
    folder = _SPLITS[split]
    for place in _PLACES:
        root = data_dir / place / folder
        if root.is_dir():
            listed = _kaggle_list(data_dir) if split == "test" and not _has_folders(root) else None
            if listed is not None:
                return open_annotated(root, _annotations(listed), imagenet_ids(), imagenet_names())
            return open_class_folders(root, imagenet_ids(), imagenet_names())
    tried = " or ".join(str(data_dir / place / folder) for place in _PLACES)
    raise DataError(
        f"ImageNet's {folder} split is not under {data_dir}. Put folders of images named by WordNet id "
        f"(such as n01440764) into {tried}, or choose --data-dir."
    )


def _has_folders(root: Path) -> bool:
    return any(entry.is_dir() for entry in root.iterdir())


def _kaggle_list(data_dir: Path) -> Path | None:
    places = (data_dir / _KAGGLE_LIST, data_dir / "ILSVRC" / _KAGGLE_LIST)
    return next((path for path in places if path.is_file()), None)


def _annotations(listed: Path) -> dict[str, str]:
    """File name to WordNet id, from lines such as ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``."""
    rows = [row for row in csv.reader(read_list(listed)) if len(row) == 2 and row[1].startswith("n")]
    if not rows:
        raise DataError(f"{listed} holds no line such as ILSVRC2012_val_00048981,n03995372 85 1 499 272.")
    return {f"{name}.JPEG": boxes.split()[0] for name, boxes in rows}
