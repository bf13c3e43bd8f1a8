"""Folders of images, one per class. Opening one lists it and reads next to nothing. Folders are not trusted."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import overload

import numpy as np
import torch

from ..console import clean, note
from ..errors import DataError, suggestion
from .contents import Contents, Marks
from .decoding import image_suffixes
from .images import FileImages

# Images that Pillow does not read, and files that may be some: passed over, but not without a word.
_UNREAD = {"", ".heic", ".heif", ".avif", ".jxl", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg", ".psd"}


class FileTable(Sequence[Path]):
    """Paths of files below ``root``: their names one after the other as bytes, not a million objects."""

    def __init__(self, root: Path, names: Iterable[str] = ()) -> None:
        self._root = root
        self._text = bytearray()
        self._ends = array("q")
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add one file, by its name below the root."""
        self._text += os.fsencode(name)
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start = self._ends[position - 1] if position else 0
        return self._root / os.fsdecode(bytes(self._text[start : self._ends[position]]))


def open_class_folders(root: Path, folders: Sequence[str] | None = None, names: Sequence[str] = ()) -> FileImages:
    """The images under ``root/<class>/``, at any depth, in order of class and of name.

    Without ``folders`` the classes are the folders found (two or more), sorted as text, with a note where they are
    numbers and these have another order. With it they are these, in this order, whether or not each is there, shown as
    ``names`` where given; any other folder is an error. Hidden files and files whose ending Pillow does not know are
    passed over; a note counts those that may be images.

    A class's folder may be a link to a folder anywhere, as subsets of large datasets are made; a note says where such
    links lead. Below it, where nobody looks at thousands of names, a link must end at a file inside ``root`` or
    inside a folder that some class links to.
    """
    found = class_folders(root)
    known = found if folders is None else list(folders)
    if strange := sorted(set(found) - set(known)):
        raise DataError(f"{root} holds {strange[0]!r}, not a class of this dataset.{suggestion(strange[0], known)}")
    if folders is None and len(found) < 2:
        raise DataError(f"{root} holds one class only, {found[0]!r}. Put two or more folders of images there.")
    if folders is None:
        _note_of_numbers(found)
    listing = _Listing(root, found)
    present = set(found)
    for label, folder in enumerate(known):
        if folder in present:
            listing.add_folder(folder, label)
    return listing.opened(known, names)


def open_annotated(
    root: Path, annotations: Mapping[str, str], folders: Sequence[str], names: Sequence[str] = ()
) -> FileImages:
    """The images of one flat folder, whose classes stand in a list: ``annotations`` maps file names to ``folders``.

    Otherwise like ``open_class_folders``. A listed file that is missing is an error; files not listed are passed over.
    """
    label_of = {folder: label for label, folder in enumerate(folders)}
    if strange := sorted(set(annotations.values()) - set(folders)):
        raise DataError(f"The list of {root} names {strange[0]!r}, not a class of this dataset.")
    listing = _Listing(root)
    for name, label in sorted(((name, label_of[folder]) for name, folder in annotations.items()), key=_by_label):
        listing.add_file(name, label)
    return listing.opened(folders, names)


def _note_of_numbers(names: Sequence[str]) -> None:
    """Numbered folders sort as text, as torchvision does and timm does not."""
    if not all(name.isdecimal() for name in names):
        return
    by_number = sorted(names, key=int)
    differing = [at for at, pair in enumerate(zip(names, by_number, strict=True)) if pair[0] != pair[1]]
    if differing:
        note(
            f"The class folders are numbers, sorted as text: class {differing[0]} is {names[differing[0]]!r}. If the "
            "network's outputs are in the order of the numbers, list the folders so in classes.txt beside train/, or "
            "in a file for --classes."
        )


def require_classes(root: Path, expected: Sequence[str], where: str, *, all_of_them: bool = True) -> None:
    """DataError unless the class folders of ``root`` are ``expected``, those of ``where``.

    Without ``all_of_them`` some may be missing: a note counts them.
    """
    found = class_folders(root)
    missing = sorted(set(expected) - set(found))
    if missing and all_of_them:
        raise DataError(
            f"{root} lacks the class {missing[0]!r} of {where}. Add the folder {root / missing[0]}, with images."
        )
    if missing:
        note(
            f"{root} has no folder for {len(missing)} of {len(expected)} classes, such as {missing[0]!r}: absent there."
        )
    for folder in sorted(set(found) - set(expected)):
        raise DataError(f"{root} holds {folder!r}, not a class of {where}.{suggestion(folder, expected)} Remove it.")


def class_folders(root: Path) -> list[str]:
    """Sorted names of the folders in ``root``. DataError if it is missing, holds none, or an unprintable name."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. It should hold one folder of images per class.")
    with _readable(root), os.scandir(root) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        found = sorted(entry.name for entry in visible if entry.is_dir())
        broken = sorted(entry.name for entry in visible if entry.is_symlink() and not Path(entry.path).exists())
    if broken:  # a class that silently is not there would change every figure
        raise DataError(f"{str(root / broken[0])!r} links to nothing. Mount or restore what it links to, or remove it.")
    if not found:
        raise DataError(f"{root} holds no folders. Put the images into one folder per class: {root}/<class>/*.")
    for name in found:
        if clean(name) != name:
            raise DataError(f"{root} holds a class named {name!r}. Rename it to printable characters.")
    return found


class _Listing:
    """The image files below ``root``, gathered class by class."""

    def __init__(self, root: Path, classes: Sequence[str] = ()) -> None:
        self.root = root.resolve()
        self._linked = [self._folder_outside(name) for name in classes if (self.root / name).is_symlink()]
        if self._linked:
            shown = f"{len(self._linked)} classes are links" if len(self._linked) > 1 else "One class is a link"
            note(f"{shown} to folders outside {root}, to {self._linked[0]} for one.")
        self._table = FileTable(self.root)
        self._labels = array("q")
        self._unread: list[str] = []
        self._marks = Marks()

    def add_folder(self, folder: str, label: int) -> None:
        with _readable(self.root / folder):
            files = sorted(self._files(folder), key=itemgetter(0))
        if not files:
            endings = "no file ending such as .png, .jpg or .webp"
            raise DataError(f"{self.root / folder} holds no image ({endings}). Put images there or remove the folder.")
        for name, status in files:
            self._add(name, status, label)

    def add_file(self, name: str, label: int) -> None:
        path = self.root / name
        if "/" in name or path.is_symlink() or not path.is_file():
            raise DataError(f"{self.root} holds no file {name!r}, though its list names it.")
        self._add(name, path.stat(), label)

    def opened(self, folders: Sequence[str], names: Sequence[str]) -> FileImages:
        if self._unread:
            count, first = len(self._unread), min(self._unread)
            note(f"{count} files of {self.root} are passed over, such as {first!r}: Pillow reads no such endings.")
        labels = torch.tensor(np.frombuffer(self._labels, dtype=np.int64))
        return FileImages(self._table, labels, tuple(names) or tuple(folders), Contents(self._table, self._marks))

    def _add(self, name: str, status: os.stat_result, label: int) -> None:
        self._table.append(name)
        self._labels.append(label)
        self._marks.append(name, status)

    def _files(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """Name and status of every image file."""
        suffixes = image_suffixes()
        waiting = [folder]
        while waiting:
            inside = waiting.pop()
            with os.scandir(self.root / inside) as entries:
                for entry in entries:
                    name = f"{inside}/{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        self._check_link(name)
                    if entry.is_dir():
                        waiting.append(name)
                    elif entry.is_file():
                        ending = Path(entry.name).suffix.lower()
                        if ending in suffixes:
                            yield name, entry.stat()
                        elif ending in _UNREAD:
                            self._unread.append(name)

    def _folder_outside(self, name: str) -> Path:
        target = (self.root / name).resolve()
        if target.is_relative_to(self.root) or self.root.is_relative_to(target):
            raise DataError(
                f"{str(self.root / name)!r} links to {str(target)!r}, so that its images would count for several "
                "classes. Remove the link, or let it lead to a folder of its own."
            )
        return target

    def _check_link(self, name: str) -> None:
        target = (self.root / name).resolve()
        if target.is_dir() or not any(target.is_relative_to(folder) for folder in (self.root, *self._linked)):
            raise DataError(
                f"{str(self.root / name)!r} links to {str(target)!r}. Copy what it links to, or link the class's whole "
                "folder: inside one only links to files of the dataset count."
            )


def _by_label(item: tuple[str, int]) -> tuple[int, str]:
    return item[1], item[0]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"Cannot read {error.filename or path}: {error.strerror or error}.") from error
