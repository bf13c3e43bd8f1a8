"""Readers of what ddeep itself writes and vouches for: seals, shards, entries of the cache, unfinished fine-tuning."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddeep.data.images import TensorImages
from ddeep.errors import DataError
from ddeep.evidence.evidence import Evidence
from ddeep.evidence.response_cache import CacheEntry, check_entry
from ddeep.evidence.shard_merge import join
from ddeep.evidence.shards import write_split
from ddeep.experiments.finetune import read_settings
from ddeep.experiments.settings import FinetuneConfig
from ddeep.files.sealed import check_files, read_sealed, write_sealed
from ddeep.networks.layer import Layer
from ddeep.results.run import read_run
from ddeep.results.verify import repeat_figures
from ddeep.selections.selection import Selection
from ddeep.statistics.basic import GradientSums
from ddeep_plugins_builtin.datasets.imagenet import _annotations as read_kaggle_list
from ddeep_plugins_builtin.datasets.tiny_imagenet import _annotations as read_tiny_list
from tests.robustness.fuzz.targets import Target

_LAYER = Layer("layer")
_IMAGES, _CLASSES, _FILTERS = 4, 3, 2
_PICTURES = TensorImages.of(
    torch.zeros(_IMAGES, 1, 1, 3, dtype=torch.uint8),
    torch.arange(_IMAGES) % _CLASSES,
    [str(c) for c in range(_CLASSES)],
)


def _read_sealed(path: Path) -> None:
    with suppress(OSError, ValueError):  # which its readers turn into errors of ddeep
        check_files(path.parent, read_sealed(path))


def _sealed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        (Path(folder) / "a.csv").write_text("1")
        write_sealed(path, {"accuracy": {"full": 90.5}}, ["a.csv"])
        return path.read_bytes()


def _shard(name: str) -> bytes:
    """What a shard of all images holds."""
    statistic = GradientSums()
    statistic.start(_CLASSES, _FILTERS, "cpu")
    evidence = Evidence(
        _LAYER,
        "train",
        torch.ones(_CLASSES, dtype=torch.int64),
        _FILTERS,
        {statistic: statistic},
        torch.ones(_IMAGES, _FILTERS),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), "train", torch.arange(_IMAGES), evidence, None)
        return (Path(folder) / name).read_bytes()


def _join(path: Path) -> None:
    """As if somebody had also sealed the shard anew."""
    for name in ("train.npy", "train.safetensors"):
        if name != path.name:
            (path.parent / name).write_bytes(_shard(name))
    entry = CacheEntry({"model": "m"}, path.parent / "joined")
    try:
        join(
            [path.parent],
            "train",
            entry,
            _LAYER,
            [GradientSums()],
            images=_PICTURES,
            classes=_CLASSES,
            filters=_FILTERS,
        )
    finally:
        shutil.rmtree(path.parent / "joined", ignore_errors=True)


def _check_entry(path: Path) -> None:
    key = {"model": "m"}
    folder = CacheEntry(key, path.parent / "entries").folder
    (folder / "responses").mkdir(parents=True, exist_ok=True)
    np.save(folder / "responses" / "responses.npy", np.zeros((2, 2), np.float32))
    (folder / "responses" / "about.json").write_bytes(path.read_bytes())
    with suppress(OSError, ValueError):  # which verify shows
        check_entry(folder)


def _repeat(path: Path) -> None:
    """A run's figures, worked out again from its document beside a selection of another."""
    document = read_run(path.parent)
    classes = len(document["per_class"])
    Selection.of([[0]] * classes, 4).named([str(c) for c in range(classes)]).save(path.parent / "selection.json")
    with suppress(DataError):  # it is another's
        repeat_figures(path.parent, document)


def _begun(run: dict[str, Any]) -> dict[str, Any]:
    settings = FinetuneConfig(epochs=1, lr=1e-4, layers=("layer3.*",)).model_dump(mode="json")
    return {**run, "status": "running", "finetuning": settings}


def written(run: dict[str, Any]) -> list[Target]:
    """The readers; ``run`` is the document of one."""
    tiny = b"val_0.JPEG\tn03444034\t0\t32\t44\t62\nval_1.JPEG\tn04067472\t52\t55\t57\t59\n"
    kaggle = b"ImageId,PredictionString\nILSVRC2012_val_00048981,n03995372 85 1 499 272 \n"
    about = {"sha256": "0" * 64, "images": 2, "filters": 2, "key": {"model": "m"}}
    fine_tuning = [_begun(run)]
    return [
        Target("sealed document", _read_sealed, seeds=[_sealed()], file="run.json"),
        Target("run.json, figures again", _repeat, documents=[run], file="run.json"),
        Target("run.json of fine-tuning", lambda p: read_settings(p.parent), documents=fine_tuning, file="run.json"),
        Target("rows of a shard", _join, seeds=[_shard("train.npy")], file="train.npy"),
        Target("states of a shard", _join, seeds=[_shard("train.safetensors")], file="train.safetensors"),
        Target("about.json, as verify reads it", _check_entry, seeds=[json.dumps(about).encode()]),
        Target("list of Tiny ImageNet", read_tiny_list, seeds=[tiny]),
        Target("list of ImageNet", read_kaggle_list, seeds=[kaggle]),
    ]
