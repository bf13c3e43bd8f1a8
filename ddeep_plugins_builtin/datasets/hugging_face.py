"""Datasets of Hugging Face's ``datasets``: read through their memory-mapped tables, picture by picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddeep.plugin import (
    ConfigError,
    DataError,
    DatasetSpec,
    FileImages,
    Images,
    Opened,
    Picture,
    in_memory_if_small,
    indexed_images,
    is_hub_name,
    offline,
)

_TEST = ("test", "validation", "val", "valid", "eval", "dev")
_LABELS = ("label", "labels", "fine_label", "target", "class", "cls")


def spec(place: str) -> DatasetSpec:
    """The dataset in a folder or of that name on the hub; ``#COLUMN`` behind it names the column of labels."""
    return DatasetSpec(
        f"hf:{place}",
        open=partial(open_dataset, place),
        summary="a dataset of Hugging Face's datasets",
        source="Lhoest et al., Datasets: a community library, EMNLP 2021 (Apache-2.0)",
    )


def open_dataset(place: str, data_dir: Path, split: str) -> Images:
    """The pictures of a split: ``train``, or ``test``, which may be called validation.

    A folder (from here, else in ``data_dir``) is one that ``save_to_disk`` has written, or holds parquet files, or
    images with metadata; anything else is a name on the hub. Raises DataError for what is missing or has other columns,
    and ConfigError where ``datasets`` is not installed.
    """
    name, column = _parts(place, Path(data_dir))
    folder = _folder(name, Path(data_dir))
    try:
        with _quiet():
            tables = _load(name, folder)
    except (ConfigError, DataError):
        raise
    except Exception as error:  # whatever the library meets in somebody's files
        raise DataError(f"hf:{place} cannot be opened: {_line(error)}") from error
    test = next((one for one in _TEST if one in tables and _is_labelled(tables[one], column)), None)
    if "train" not in tables or test is None:
        raise DataError(
            f"hf:{place} has the splits {', '.join(tables) or '(none)'}; it takes train, and test or validation, with "
            "labels."
        )
    classes = _classes(tables["train"], tables[test], column, place)
    chosen = tables["train" if split == "train" else test]
    return in_memory_if_small(_opened(chosen, column, classes, folder, f"hf:{place}"))


def _parts(place: str, data_dir: Path) -> tuple[str, str | None]:
    name, mark, column = place.rpartition("#")
    if not mark or Path(place).exists() or (data_dir / place).exists():
        return place, None
    return name, column


def _folder(name: str, data_dir: Path) -> Path | None:
    return next((path for path in (Path(name).expanduser(), data_dir / name) if path.is_dir()), None)


def _load(name: str, folder: Path | None) -> dict[str, Any]:
    """The splits, by name. A builder is named for every folder, so that nothing in it chooses what reads it."""
    try:
        import datasets
    except ImportError:
        raise ConfigError("hf:… needs Hugging Face's datasets: pip install 'ddeep[hf]'.") from None
    if folder is None:
        return _load_from_hub(name)
    if (folder / "dataset_dict.json").is_file():
        return dict(datasets.load_from_disk(str(folder)))
    if (folder / "state.json").is_file():
        raise DataError(f"{folder} is one split. Save a DatasetDict with train and test, which writes both.")
    kind = "parquet" if next(folder.rglob("*.parquet"), None) is not None else "imagefolder"
    return dict(datasets.load_dataset(kind, data_dir=str(folder)))


def _load_from_hub(name: str) -> dict[str, Any]:
    import datasets
    from huggingface_hub import constants

    if not is_hub_name(name):
        raise DataError(
            f"There is no folder {name}. Name one that save_to_disk has written, or that holds parquet files or images "
            "with metadata, or a dataset of the hub (owner/name)."
        )
    if not offline():
        return dict(datasets.load_dataset(name))
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        return dict(datasets.load_dataset(name))
    except Exception as error:
        raise DataError(
            f"There is no folder {name}, the cache of datasets on this machine has no {name}, and it is not fetched: "
            "downloads are forbidden, or a file names it and no command of yours."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _image_column(table: Any, place: str) -> str:
    import datasets

    found = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    found = found or [name for name in ("image", "img", "picture") if name in table.features]
    if len(found) != 1:
        raise DataError(f"{place} has {len(found)} columns of images, not one: its columns are {_named(table)}.")
    return str(found[0])


def _label_column(table: Any, column: str | None, place: str) -> str:
    import datasets

    if column is not None:
        if column not in table.features:
            raise DataError(f"{place} has no column {column!r}: its columns are {_named(table)}.")
        return column
    found = [name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    found = found if len(found) == 1 else [name for name in _LABELS if name in table.features][:1]
    if not found:
        raise DataError(f"{place} has no column that is known as labels: name one of {_named(table)}, {place}#COLUMN.")
    return str(found[0])


def _named(table: Any) -> str:
    return ", ".join(map(str, table.features))


def _is_labelled(table: Any, column: str | None) -> bool:
    """Whether any label is one: published test splits often have -1 throughout."""
    values = _values(table, _label_column(table, column, "the dataset"))
    return bool(len(values)) and not (values.dtype.kind in "iu" and int(values.max()) < 0)


def _values(table: Any, column: str) -> Any:
    """A column as numpy array."""
    kind = table.data.column(column).type
    if str(kind).startswith(("list", "large_list", "fixed_size_list")):
        raise DataError(
            f"The labels in {column!r} are several an image: multi-label data. ddeep is about networks that give an "
            "image one class."
        )
    return table.data.column(column).to_numpy()


def _classes(train: Any, test: Any, column: str | None, place: str) -> list[str]:
    import datasets

    name = _label_column(train, column, f"hf:{place}")
    kind = train.features[name]
    if isinstance(kind, datasets.ClassLabel):
        return list(kind.names)
    known, also = (np.unique(_values(table, name).astype(object)) for table in (train, test))
    if all(isinstance(value, int) for value in known):
        highest = int(max(*known, *also))
        return [str(number) for number in range(highest + 1)] if highest < 10_000_000 else []
    if strange := sorted(set(map(str, also)) - set(map(str, known))):
        raise DataError(f"The label {strange[0]!r} of hf:{place} is none of the {len(known)} of its train split.")
    return sorted(map(str, known))


@dataclass(frozen=True)
class _Row:
    """The picture in a row of a table, read when it is asked for."""

    column: Any
    index: int
    place: str

    def open(self) -> Opened:
        """Its bytes."""
        content = self.column[self.index].as_py()
        content = content["bytes"] if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise OSError("the row holds no picture")
        return io.BytesIO(content)

    def __str__(self) -> str:
        return f"{self.place}[{self.index}]"


class _Rows(Sequence[Picture]):
    """All of them."""

    def __init__(self, column: Any, place: str) -> None:
        self.column, self.place = column, place

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return _Row(self.column, range(len(self))[index], self.place)


def _opened(table: Any, column: str | None, classes: list[str], folder: Path | None, place: str) -> Any:
    import pyarrow.compute as pc

    images = table.data.column(_image_column(table, place))
    labels = _labels(_values(table, _label_column(table, column, place)), classes)
    inside = images
    if str(images.type).startswith("struct"):
        inside = pc.struct_field(images, "bytes")
        if inside.null_count == len(images):
            return _of_files(pc.struct_field(images, "path").to_pylist(), labels, classes, folder, place)
    sources = [Path(one["filename"]) for one in table.cache_files]
    rows = _Rows(images, place)
    if not sources:  # in memory
        return FileImages(rows, labels, tuple(classes))
    sizes = pc.binary_length(inside).to_pylist()
    return indexed_images(rows, labels, classes, ((str(at), size or 0, None) for at, size in enumerate(sizes)), sources)


def _of_files(paths: Sequence[str], labels: Tensor, classes: list[str], folder: Path | None, place: str) -> Any:
    """Files that a table names. It may name any, so that only those in the dataset's own folder count."""
    root = folder.resolve() if folder is not None else _cache()
    files = [Path(path) for path in paths]
    strange = next((file for file in files if not file.resolve().is_relative_to(root)), None)
    if strange is not None:
        raise DataError(f"{place} names {str(strange)!r}, which is not in its folder. Save it with its images inside.")
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DataError(f"There is no file {missing}, which {place} names.")
    return FileImages(files, labels, tuple(classes))


def _cache() -> Path:
    import datasets

    return Path(datasets.config.HF_CACHE_HOME).resolve()


def _labels(values: Any, classes: list[str]) -> Tensor:
    if values.dtype.kind in "iu":
        return torch.from_numpy(values.astype(np.int64))
    if values.dtype.kind == "f":
        raise DataError("Some images have no label, or one that is no whole number. Leave them out.")
    places = {name: at for at, name in enumerate(classes)}
    return torch.tensor([places[str(value)] for value in values])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own progress bars: stderr is ddeep's."""
    try:
        import datasets
    except ImportError:
        yield
        return
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
