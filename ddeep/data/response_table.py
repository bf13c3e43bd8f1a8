"""Responses in a file, in place of images and the network that gave them: embeddings of any backbone.

A safetensors file, or a folder of ``.npy`` files, with ``train_responses`` ``(N, K)`` and ``train_labels`` ``(N,)``,
the same of ``test`` (or ``val``), and perhaps ``weight`` ``(C, K)`` and ``bias`` ``(C,)`` of the head they feed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import DataError
from ..files.atomic import map_array
from .images import ResponseTable, Split, content_hash

_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
_ROWS = 65536  # looked at and hashed at once


@dataclass(frozen=True, eq=False)
class ResponseFile:
    """Both splits, and the head's ``weight`` and ``bias`` where the file holds them."""

    images: dict[Split, ResponseTable]
    weight: Tensor | None
    bias: Tensor | None


def open_responses(path: Path) -> ResponseFile:
    """Read such a file or folder, checked; classes are named in the metadata's ``classes``, else by their numbers.

    Raises DataError, naming what is missing, of another shape or not finite.
    """
    tensors, names = _read(path)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    found = {split: _split(tensors, split, path) for split in _NAMES}
    filters = found["train"][0].shape[1]
    if found["test"][0].shape[1] != filters:
        raise DataError(f"{path}: train responses have {filters} filters, test responses {found['test'][0].shape[1]}.")
    if weight is not None and (weight.dim() != 2 or weight.shape[1] != filters):
        raise DataError(f"{path}: weight is {tuple(weight.shape)}, not (classes, {filters}) as its responses ask for.")
    if bias is not None and (weight is None or bias.shape != weight.shape[:1]):
        raise DataError(f"{path}: bias is {tuple(bias.shape)}, which does not go with the weight.")
    largest = max(int(labels.max()) for _, labels in found.values())
    classes = _class_names(names, len(weight) if weight is not None else largest + 1, path)
    images = {split: _table(rows, labels, classes, path) for split, (rows, labels) in found.items()}
    return ResponseFile(images, weight, bias)


def _read(path: Path) -> tuple[Mapping[str, Tensor], Sequence[str]]:
    """All tensors, those of a folder mapped, and the class names."""
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        try:
            return {name: torch.from_numpy(map_array(file, "c")) for name, file in files.items()}, ()
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} holds an array that cannot be read: {error}.") from None
    if not path.is_file():
        raise DataError(f"There are no responses at {path}: give a safetensors file, or a folder of .npy files.")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, _split_names(about.get("classes", ""))  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is no whole safetensors file ({error}). Copy or make it again.") from None


def _split_names(text: str) -> Sequence[str]:
    """A JSON list, or words."""
    return [str(name) for name in json.loads(text)] if text.startswith("[") else text.split()


def _split(tensors: Mapping[str, Tensor], split: Split, path: Path) -> tuple[Tensor, Tensor]:
    name = next((name for name in _NAMES[split] if f"{name}_responses" in tensors), None)
    if name is None or f"{name}_labels" not in tensors:
        wanted = " or ".join(f"{name}_responses and {name}_labels" for name in _NAMES[split])
        raise DataError(f"{path} lacks {wanted}; it holds {', '.join(sorted(tensors)) or 'nothing'}.")
    rows, labels = tensors[f"{name}_responses"], tensors[f"{name}_labels"]
    if rows.dim() != 2 or not rows.is_floating_point() or not len(rows):
        raise DataError(f"{path}: {name}_responses is {tuple(rows.shape)} {rows.dtype}, not floating point (N, K).")
    if labels.shape != rows.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"{path}: {name}_labels is {tuple(labels.shape)} {labels.dtype}, not {len(rows)} whole numbers, one a row."
        )
    return rows, labels.long()


def _class_names(names: Sequence[str], count: int, path: Path) -> tuple[str, ...]:
    if names and len(names) < count:
        raise DataError(f"{path} names {len(names)} classes, but there are {count}.")
    if count < 2 and len(names) < 2:
        raise DataError(f"{path} has images of one class alone, so there is nothing to tell apart: give two classes.")
    return tuple(names) or tuple(map(str, range(count)))


def _table(rows: Tensor, labels: Tensor, classes: tuple[str, ...], path: Path) -> ResponseTable:
    digest = hashlib.sha256()
    for part in torch.split(rows, _ROWS):
        if not torch.isfinite(part).all():
            raise DataError(f"{path} holds NaN or infinite responses. Leave those rows out, or make them again.")
        digest.update(part.contiguous().numpy().data)
    return ResponseTable(rows, labels, classes, content_hash(digest.hexdigest(), tuple(rows.shape), labels, classes))
