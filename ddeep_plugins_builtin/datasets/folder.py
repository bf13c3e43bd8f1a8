"""Anyone's own images in class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddeep.plugin import (
    DataError,
    Images,
    class_folders,
    in_memory_if_small,
    open_class_folders,
    read_classes,
    require_classes,
)


def open_folder(data_dir: Path, split: str, classes: Sequence[str] | None = None) -> Images:
    """Images of ``data_dir/train/<class>/``; the test split is ``test/``, or ``val/`` where test/ has no class folders.

    The classes are ``classes``, or else the lines of ``data_dir/classes.txt``, in that order, or the folders of train/
    as text sorts them. The test split may lack some of them, but holds no others. Images of one small size are decoded
    once and kept in the cache.
    """
    data_dir = Path(data_dir)
    train = data_dir / "train"
    if not train.is_dir():
        raise DataError(f"There is no folder {train}. Put images into {train}/<class>/ and {data_dir}/test/<class>/.")
    listed = classes or read_classes(data_dir / "classes.txt")
    if split == "train":
        return in_memory_if_small(open_class_folders(train, listed))
    test = _test_folder(data_dir)
    known = listed or class_folders(train)
    require_classes(test, known, str(train), all_of_them=False)
    return in_memory_if_small(open_class_folders(test, known))


def _test_folder(data_dir: Path) -> Path:
    """test/ often holds unlabelled images, without class folders."""
    for name in ("test", "val"):
        folder = data_dir / name
        if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()):
            return folder
    raise DataError(f"{data_dir} has train/ but no images to test on. Put them into {data_dir}/test/<class>/.")
