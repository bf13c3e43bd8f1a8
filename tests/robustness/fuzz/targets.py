"""Every reader of files that are not trusted, with valid files to damage."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from ddeep.data.decoding import read_rgb
from ddeep.data.pixel_cache import _open as open_converted
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import DdeepError
from ddeep.evidence.response_cache import CacheEntry
from ddeep.evidence.shards import read_shards
from ddeep.experiments.reopen import run_config
from ddeep.experiments.settings import CompareConfig, FinetuneConfig, MeasureConfig, RunConfig, TrainConfig, read_config
from ddeep.experiments.train import read_unfinished
from ddeep.files.atomic import sha256_of
from ddeep.networks.head import Head
from ddeep.networks.weights import read_state_dict
from ddeep.networks.weights_file import describe_file, write_trained
from ddeep.reports.comparison_page import read_comparison
from ddeep.reports.findings import Findings
from ddeep.results.run import read_run
from ddeep.selections.selection import Selection
from ddeep.statistics.basic import ClassSums, TopCounts
from ddeep.training.checkpoint import Checkpoint
from ddeep.training.history import History
from ddeep_plugins_builtin.datasets.cifar import _CIFAR10, _read
from tests.robustness.fuzz.mutations import damaged, rewritten

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """A reader: ``read(path)`` must succeed or raise DdeepError, whatever the file holds.

    ``seeds`` are valid files, ``documents`` valid JSON to rewrite; ``file`` is the name under which it is read.
    """

    name: str
    read: Callable[[Path], object]
    seeds: Sequence[bytes] = ()
    documents: Sequence[dict[str, Any]] = ()
    file: str = "input"

    def valid(self) -> list[bytes]:
        """Files that can be read."""
        return [*self.seeds, *(json.dumps(document).encode() for document in self.documents)]

    def inputs(self) -> st.SearchStrategy[bytes]:
        """What to read: damaged files, rewritten documents, and now and then any bytes at all."""
        kinds = [damaged(self.valid())] * 4 + [rewritten(self.documents)] * (6 if self.documents else 0)
        return st.one_of(*kinds, st.binary(max_size=64))


def _selection() -> dict[str, Any]:
    made = Selection.of([[3, 1], [0], []], 8, scores=[[0.5, 0.25], [2.0], []], absent=[2])
    made = made.with_head(torch.arange(24.0).view(3, 8), torch.zeros(3))
    return made.named(["cat", "dog", "bird"], strategy="paper", k=2, layer="layer3.2").to_json()


def _dense(found: Selection) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(found.filters), found.num_filters), torch.zeros(len(found.filters))


def _read_selection(path: Path) -> None:
    for settings in ({}, {"num_filters": 8, "num_classes": 3}, {"num_filters": 8, "classes": ("cat", "dog", "bird")}):
        with _refusing():
            found = Selection.load(path, **settings)  # type: ignore[arg-type]
            assert all(0 <= j < found.num_filters for row in found.filters for j in row)
            found.mask()
            if found.head is not None:
                found.learned_head(Head(*_dense(found)))


def _read_config(path: Path) -> None:
    for kind in (RunConfig, CompareConfig, MeasureConfig, TrainConfig, FinetuneConfig):
        with _refusing():
            read_config(kind, {}, path)  # type: ignore[type-var]


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except DdeepError as error:
        _check_message(error)


def _check_message(error: DdeepError) -> None:
    """One line that a terminal can show: what is printed is cleaned, but nothing endless is built."""
    assert len(str(error)) < 3000, f"a message of {len(str(error))} characters"


_TOML = b"""model = "resnet20"
strategy = "paper"
k = 0.5
dataset = "digits"
data-dir = "data"
mean = [0.4, 0.5, 0.6]
std = "0.2,0.2,0.2"
batch-size = 64
seed = 3
no-refit = true
skip_bad_images = false
layers = ["layer3.*", "layer2.1"]
strategies = ["paper", "weight"]
weights = "w.pt"
epochs = 3
lr = 1e-3
regularizer_options = { margin = 0.5 }
[finetune]
epochs = 1
"""

_STATE = {"conv.weight": torch.arange(12.0).view(3, 2, 2), "head.bias": torch.ones(3), "n": torch.tensor(4)}


def _saved(zipped: bool, **more: object) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": _STATE, **more} if more else _STATE, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _trained() -> bytes:
    recipe = Preprocessing((0.5,) * 3, (0.2,) * 3, 8, 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        write_trained(_STATE, path, model="m", dataset="d", classes=("a", "b", "c"), preprocessing=recipe)
        return path.read_bytes()


def _read_weights(path: Path) -> None:
    with _refusing():
        described = describe_file(path)
        if described is not None:
            Preprocessing.of(described)
    with _refusing():
        state = read_state_dict(path)
        assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in state.values())


def _read_run(path: Path) -> None:
    document = read_run(path.parent)
    found = Findings(path.parent, document, Selection.of([[0]] * len(document["per_class"]), 1))
    assert found.stages
    for row in document["per_class"]:
        found.drop(row["index"])
    run_config(document)


def _training_document() -> dict[str, Any]:
    settings = TrainConfig(model="resnet20", dataset="digits", epochs=2).model_dump(mode="json", exclude_none=True)
    return {"schema": "ddeep.train/1", "status": "running", "config": settings, "epochs": []}


_ROW = {"epoch": 1, "loss": 0.5, "accuracy": 90.0, "seconds": 1.0, "images_per_second": 9.0, "learning_rate": 0.1}
_FACTS = {"identity": {"seed": 0}, "epoch": 1, "step": 0, "seconds": 1.5, "history": [_ROW], "scaler": None}


def _checkpoint() -> bytes:
    tensors = {f"objective/{name}": tensor for name, tensor in _STATE.items()} | {"run/figures": torch.zeros(4)}
    return save(tensors, {"schema": "ddeep.checkpoint/1", "facts": json.dumps(_FACTS)})


def _read_checkpoint(path: Path) -> None:
    saved = Checkpoint.read(path)
    with suppress(LookupError, TypeError):  # what ``training`` takes for damage
        History.from_json(saved.facts["history"])


def _read_history(path: Path) -> None:
    facts = path.read_bytes().decode("utf-8", "replace")
    path.write_bytes(save({"run/figures": torch.zeros(1)}, {"schema": "ddeep.checkpoint/1", "facts": facts}))
    _read_checkpoint(path)


_SHARD = {
    "schema": "ddeep.shard/1",
    "number": 0,
    "of": 1,
    "config": RunConfig(model="resnet20", strategy="paper").model_dump(mode="json", exclude={"out"}),
    "keys": {"train": {"model": "resnet20"}, "test": {"model": "resnet20"}},
    "filters": 64,
}

_STATISTICS = (ClassSums(), TopCounts(2))


def _entry_at(root: Path) -> CacheEntry:
    return CacheEntry({"model": "m"}, root)


def _rows() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(6, dtype=np.float32).reshape(3, 2))
    return file.getvalue()


def _read_cached_rows(path: Path) -> None:
    """As if somebody had also written the hash that belongs to the damage."""
    entry = _entry_at(path.parent / "cache")
    folder = entry.folder / "responses"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "responses.npy").write_bytes(path.read_bytes())
    (folder / "about.json").write_text(json.dumps({"sha256": sha256_of(path), "key": entry.key}))
    entry.responses()


def _read_cached_about(path: Path) -> None:
    entry = _entry_at(path.parent / "cache")
    folder = entry.folder / "responses"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "responses.npy").write_bytes(_rows())
    (folder / "about.json").write_bytes(path.read_bytes())
    entry.responses()


def _state_of(statistic: Any) -> bytes:
    statistic = statistic.twin()
    statistic.start(3, 4, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        with mock.patch.object(CacheEntry, "_state_path", return_value=path):
            _entry_at(Path(folder)).save(statistic, 4)
        return path.read_bytes()


def _read_statistic(path: Path) -> None:
    for statistic in _STATISTICS:
        with mock.patch.object(CacheEntry, "_state_path", return_value=path):
            _entry_at(path.parent).load(statistic.twin(), 3)
        if not path.exists():  # it was refused, and removed
            return


def _converted() -> bytes:
    file, pixels = io.BytesIO(), np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    np.save(file, pixels)
    return file.getvalue() + hashlib.sha256(pixels.data).digest()


def _pictures() -> list[bytes]:
    found = []
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "ICO", "TGA", "SGI"):
        file = io.BytesIO()
        image.save(file, kind)
        found.append(file.getvalue())
    return found


def _batch() -> bytes:
    pixels = np.zeros((2, 3072), np.uint8)
    return pickle.dumps({"data": pixels, "labels": [3, 7]}, protocol=3)


_ABOUT = {"sha256": "0" * 64, "images": 3, "filters": 2, "key": {"model": "m"}}


def targets() -> list[Target]:
    """All readers."""
    from tests.robustness.fuzz.written import written

    indices = {str(c): [5, 1, 7] for c in range(3)}
    run, comparison = (json.loads((HERE / "seeds" / name).read_text()) for name in ("run.json", "comparison.json"))
    return [
        Target("selection", _read_selection, documents=[_selection()]),
        Target("authors' indices", _read_selection, documents=[indices]),
        Target("settings", _read_config, seeds=[_TOML]),
        Target("weights, torch's zip", _read_weights, seeds=[_saved(True), _saved(True, epoch=3, best=9.5)]),
        Target("weights, torch's old format", _read_weights, seeds=[_saved(False), _saved(False, epoch=3)]),
        Target("weights, safetensors", _read_weights, [save(_STATE), _trained()], file="input.safetensors"),
        Target("run.json", _read_run, documents=[run], file="run.json"),
        Target("run.json of training", _in_folder(read_unfinished), documents=[_training_document()], file="run.json"),
        Target("comparison.json", _in_folder(read_comparison), documents=[comparison], file="comparison.json"),
        Target("shard.json", lambda path: read_shards([path.parent]), documents=[_SHARD], file="shard.json"),
        Target("training checkpoint", _read_checkpoint, seeds=[_checkpoint()]),
        Target("training history", _read_history, documents=[_FACTS]),
        Target("cached responses", _read_cached_rows, seeds=[_rows()]),
        Target("about.json of the cache", _read_cached_about, documents=[_ABOUT]),
        Target("cached statistics", _read_statistic, seeds=[_state_of(one) for one in _STATISTICS]),
        Target("converted images", lambda path: open_converted(path, 2), seeds=[_converted()]),
        Target("images", read_rgb, seeds=_pictures()),
        Target("CIFAR's pickles", lambda path: _read(path, _CIFAR10), seeds=[_batch()]),
        *written(run),
    ]


def _in_folder(reader: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: reader(path.parent)
