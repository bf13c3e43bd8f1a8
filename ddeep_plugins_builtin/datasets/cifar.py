"""CIFAR-10 and CIFAR-100: the published pickles, read without running them, or class folders of images."""

from __future__ import annotations

import io
import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ddeep.plugin import (
    BoundsError,
    DataError,
    DownloadError,
    FileImages,
    TensorImages,
    as_tensor_images,
    check_pickle,
    download,
    matches,
    open_class_folders,
    read_bounded,
    require_classes,
    sha256_of,
    written_whole,
)


@dataclass(frozen=True)
class _Cifar:
    title: str
    folder: str  # of class folders, or around the pickles
    pickles: str
    files: dict[str, tuple[str, ...]]
    labels: str
    sha256: str
    classes: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"

    @property
    def archive(self) -> str:
        return f"{self.folder.replace('cifar', 'cifar-')}-python.tar.gz"


# In the order of the labels, which is the alphabet's.
_MOST_BYTES = 512 * 2**20  # of a pickle; the largest published one has 156 MB
_NAMES_10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES_100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_CIFAR10 = _Cifar(
    title="CIFAR-10",
    folder="cifar10",
    pickles="cifar-10-batches-py",
    files={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
    labels="labels",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    classes=tuple(_NAMES_10.split()),
)
_CIFAR100 = _Cifar(
    title="CIFAR-100",
    folder="cifar100",
    pickles="cifar-100-python",
    files={"train": ("train",), "test": ("test",)},
    labels="fine_labels",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    classes=tuple(_NAMES_100.split()),
)


def open_cifar10(data_dir: Path, split: str) -> TensorImages | FileImages:
    """CIFAR-10 under ``data_dir``: ``[cifar10/]cifar-10-batches-py`` or ``cifar10/{train,test}/<class>/*``."""
    return _open(_CIFAR10, Path(data_dir), split)


def open_cifar100(data_dir: Path, split: str) -> TensorImages | FileImages:
    """CIFAR-100 under ``data_dir``: ``[cifar100/]cifar-100-python`` or ``cifar100/{train,test}/<class>/*``."""
    return _open(_CIFAR100, Path(data_dir), split)


def _open(cifar: _Cifar, data_dir: Path, split: str) -> TensorImages | FileImages:
    own = data_dir / cifar.folder
    for pickles in (data_dir / cifar.pickles, own / cifar.pickles):
        if pickles.is_dir():
            return _from_pickles(cifar, pickles, split)
    if (own / "train").is_dir() or (own / "test").is_dir():
        require_classes(own / split, cifar.classes, cifar.title)
        return as_tensor_images(open_class_folders(own / split, cifar.classes))
    return _from_pickles(cifar, _fetched(cifar, data_dir), split)


def _from_pickles(cifar: _Cifar, folder: Path, split: str) -> TensorImages:
    parts = [_read(folder / name, cifar) for name in cifar.files[split]]
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.concatenate([labels for _, labels in parts])
    return TensorImages.of(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(labels), cifar.classes)


def _read(path: Path, cifar: _Cifar) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, 3072), in planes, and labels of one pickle."""
    if not path.is_file():
        raise DataError(f"{path.parent} lacks {path.name}. Unpack {cifar.url} again.")
    try:
        file = io.BytesIO(read_bounded(path, _MOST_BYTES))
        check_pickle(file)
        file.seek(0)
        content = _NumpyUnpickler(file, encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), np.asarray(content[cifar.labels])
    except Exception as error:  # anything can be wrong with a damaged pickle
        reason = str(error) if isinstance(error, pickle.UnpicklingError | BoundsError) else "it is damaged"
        raise DataError(f"{path} is not a file of {cifar.title} ({reason}). Unpack {cifar.url} again.") from error
    fits = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3 * 32 * 32) and labels.dtype.kind in "iu"
    fits = fits and pixels.nbytes <= path.stat().st_size  # not an array that the pickle only asks for
    if not fits or not len(labels) or labels.min() < 0 or labels.max() >= len(cifar.classes):
        raise DataError(f"{path} does not hold images and labels of {cifar.title}. Unpack {cifar.url} again.")
    return pixels, labels.astype(np.int64)


class _NumpyUnpickler(pickle.Unpickler):
    """Builds lists, dicts, text and arrays of numbers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return _reconstruct
        raise pickle.UnpicklingError(f"it asks to run {module}.{name}")


def _reconstruct(*_given: object) -> NDArray[np.int8]:
    """In place of numpy's own: the empty array that the pickle then fills, whatever size it asks for."""
    return np.ndarray((0,), dtype=np.int8)


def _fetched(cifar: _Cifar, data_dir: Path) -> Path:
    """The folder of pickles, unpacked from the published archive: one lying in ``data_dir``, or downloaded."""
    target, archive = data_dir / cifar.pickles, data_dir / cifar.archive
    if archive.is_file() and matches(sha256_of(archive), cifar.sha256):
        _unpack(archive, cifar, target)
        return target
    own = data_dir / cifar.folder
    try:
        download(cifar.url, cifar.sha256, archive, cifar.title)
    except DownloadError as error:
        raise DataError(
            f"{cifar.title} is not under {data_dir}. {error} Put {cifar.archive} there, or images into "
            f"{own}/train/<class>/ and {own}/test/<class>/, or choose --data-dir."
        ) from error
    _unpack(archive, cifar, target)
    archive.unlink()
    return target


def _unpack(archive: Path, cifar: _Cifar, target: Path) -> None:
    """Write the named files and nothing else, whatever the archive's own paths say."""
    with tarfile.open(archive) as tar, written_whole(target) as temporary:
        temporary.mkdir()
        for name in (*cifar.files["train"], *cifar.files["test"]):
            member = tar.extractfile(f"{cifar.pickles}/{name}")
            if member is None:
                raise DataError(f"{archive} lacks {cifar.pickles}/{name}.")
            (temporary / name).write_bytes(member.read())
