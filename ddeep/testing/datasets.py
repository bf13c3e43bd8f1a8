"""What datasets promise."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..data.images import FileImages, Images, TensorImages
from ..data.pictures import open_picture
from ..errors import DdeepError
from ..registry.specs import DatasetFamily, DatasetSpec, resolve
from .contract import Promise, Unchecked, broken_unless

_SPLITS = ("train", "test")


def _open(spec: DatasetSpec, data_dir: Path) -> dict[str, Images]:
    try:
        return {split: resolve(spec.open)(data_dir, split) for split in _SPLITS}
    except DdeepError as error:
        raise Unchecked(f"{spec.name!r} is not at hand: {error}") from error


def _opens(spec: DatasetSpec, data_dir: Path) -> None:
    for split, images in _open(spec, data_dir).items():
        broken_unless(
            isinstance(images, TensorImages | FileImages),
            f"`open(data_dir, {split!r})` returned a {type(images).__name__}",
            "return ddeep.TensorImages or ddeep.FileImages",
        )
        if isinstance(images, TensorImages):
            shape, dtype = tuple(images.pixels.shape), images.pixels.dtype
            broken_unless(
                len(shape) == 4 and shape[3] == 3 and dtype == torch.uint8 and len(images.pixels) == len(images.labels),
                f"The pixels of {split} are {shape}, {dtype}, for {len(images.labels)} labels",
                "give (N, H, W, 3) of uint8 in RGB, one image for each label",
            )
        else:
            assert isinstance(images, FileImages)
            broken_unless(
                len(images.files) == len(images.labels) and _opens_first(images),
                f"{split} has {len(images.files)} files for {len(images.labels)} labels, or they do not exist",
                "give the path of one existing file, or a picture that can be opened, for each label",
            )


def _opens_first(images: FileImages) -> bool:
    try:
        with open_picture(images.files[0]):
            return True
    except OSError:
        return False


def _labels_fit(spec: DatasetSpec, data_dir: Path) -> None:
    opened = _open(spec, data_dir)
    for split, images in opened.items():
        count = len(images.classes)
        broken_unless(
            len(images)
            and images.labels.dtype == torch.int64
            and 0 <= images.labels.min() <= images.labels.max() < count,
            f"The labels of {split} are {images.labels.dtype} for {count} classes",
            "give int64 indices into `classes`",
        )
        broken_unless(
            len(set(images.classes)) == count and (spec.num_classes or count) == count,
            f"{split} has {count} classes, {len(set(images.classes))} different; num_classes={spec.num_classes}",
            "give every class its own name, and the spec their number",
        )
    broken_unless(
        opened["train"].classes == opened["test"].classes,
        "The splits have different classes",
        "let `classes` name all of them, in the same order, in both splits",
    )


def _is_hashed(spec: DatasetSpec, data_dir: Path) -> None:
    opened, again = _open(spec, data_dir), _open(spec, data_dir)
    hashes = [opened[split].content_hash for split in _SPLITS]
    broken_unless(
        all(re.fullmatch("[0-9a-f]{64}", text) for text in hashes) and len(set(hashes)) == 2,
        f"The content hashes of the splits are {hashes}",
        "give the hex sha256 of pixels (or files), labels and class names",
    )
    broken_unless(
        hashes == [again[split].content_hash for split in _SPLITS],
        "Opened twice, the content hash differs",
        "hash the content, nothing else: caches are found by it",
    )


def _misses_its_files_clearly(spec: DatasetSpec, _data_dir: Path) -> None:
    with TemporaryDirectory() as empty:
        try:
            resolve(spec.open)(Path(empty), "test")
        except DdeepError as error:
            broken_unless(
                empty in str(error),
                f"In an empty data folder the error is: {error}",
                "name the folder that was looked at, what is expected there, and where to get it",
            )
        except Exception as error:
            broken_unless(
                False,
                f"In an empty data folder it fails with {type(error).__name__}: {error}",
                "raise ddeep.errors.DataError with what is expected where",
            )


def _says_what_is_not_there(family: DatasetFamily, _data_dir: Path) -> None:
    place = "no-such-place"
    with TemporaryDirectory() as empty:
        try:
            resolve(resolve(family.resolve)(place).open)(Path(empty), "test")
        except DdeepError as error:
            broken_unless(
                place in str(error), f"Of {place!r} it says: {error}", "name what was looked for and what it should be"
            )
            return
        except Exception as error:
            broken_unless(
                False, f"{place!r} fails with {type(error).__name__}: {error}", "raise ddeep.errors.DataError"
            )
        broken_unless(False, f"{place!r} opened, though there is no such place", "raise ddeep.errors.DataError")


FAMILY = [Promise("what is not there is a clear error", _says_what_is_not_there)]
PROMISES = [
    Promise("it opens to images", _opens),
    Promise("its labels fit its classes", _labels_fit),
    Promise("its content is hashed", _is_hashed),
    Promise("missing files are a clear error", _misses_its_files_clearly),
]
