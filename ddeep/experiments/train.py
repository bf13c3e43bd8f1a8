"""A training run from names to a run directory: model, dataset and recipe in; weights, history and figures out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from pydantic import ValidationError
from torch import Tensor, nn

from .. import console
from ..data.images import Images, TensorImages
from ..data.preprocessing import Preprocessing
from ..errors import CacheError, DataError
from ..evidence import processes
from ..files.atomic import sha256_of
from ..files.downloads import nothing_fetched
from ..files.validation import first_problem
from ..heads.accuracy import accuracy
from ..networks.device import Precision, resolve_device
from ..networks.layer import Layer
from ..networks.network import load_network
from ..networks.weights_file import write_trained
from ..provenance import machine, versions
from ..registry.registry import registry
from ..registry.specs import ModelSpec, resolve
from ..results.run import FINISHED, RUNNING, read_run, seal_run
from ..training.checkpoint import CHECKPOINT, can_resume
from ..training.history import EpochRow
from ..training.loop import Progress, train
from ..training.regularizers import Regularizer, build_regularizer
from .opening import open_images
from .reopen import recorded_settings
from .settings import TrainConfig

SCHEMA = "ddeep.train/1"

# ImageNet's, for images on disk, which are not read twice just to learn theirs.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 224
_AT_ONCE = 2**24  # values of pixels counted at once


def read_unfinished(folder: Path, data_dir: Path | None = None) -> TrainConfig:
    """The settings of the unfinished run in ``folder``, to resume it, with another ``data_dir`` where one is given."""
    document = read_run(folder, SCHEMA)
    if document.get("status") != RUNNING:
        raise CacheError(f"The run in {folder} is finished; there is nothing to resume. Train anew with another --out.")
    try:
        return TrainConfig.model_validate(recorded_settings(document, data_dir))
    except ValidationError as error:
        raise CacheError(f"{folder}/run.json does not describe a training run: {first_problem(error)}.") from None


def run_training(
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> dict[str, Any]:
    """Train and return the document that is written to ``folder``/run.json.

    With ``resume`` it goes on with what is in ``folder``, from the start where no checkpoint was written yet.
    Beside it: ``model.safetensors`` and ``history.csv``; ``checkpoint.safetensors`` until it is done.
    """
    spec = registry().find("model", config.model)
    dataset = registry().find("dataset", config.dataset)
    with nothing_fetched() if resume else nullcontext():  # then it is the folder that names them
        opened = open_images(dataset, config)
        images, test = opened["train"], opened["test"]
        if images.classes != test.classes:
            raise DataError(f"The splits of {config.dataset} do not have the same classes.")
        module, preprocessing, weights = _start(spec, images, config)
    console.note(f"Images: {preprocessing}.")
    recipe, wanted = config.training_recipe(flip=dataset.flip), config.regularizer_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        regularizer = build_regularizer(
            wanted,
            module,
            size=preprocessing.size,
            classes=len(images.classes),
            head=spec.head,
            layer=Layer(spec.layer, spec.pool) if spec.layer else None,
        )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "status": RUNNING,
        "model": spec.name,
        "dataset": config.dataset,
        "config": config.model_dump(mode="json", exclude_none=True),
        "recipe": recipe.identity(),
        "seed": config.seed,
        "from": weights,
        "preprocessing": preprocessing.identity(),
        "classes": list(images.classes),
        "data": {"train": images.content_hash, "test": test.content_hash},
        "machine": machine(),
        "processes": processes.world(),
        "versions": versions(),
        "plugins": registry().versions(),
    }
    if not resume and processes.rank() == 0:
        seal_run(folder, document)

    def judge(judged: nn.Module, precision: Precision = "bf16" if recipe.precision == "bf16" else "fp32") -> float:
        return accuracy(judged, test, preprocessing, resolve_device(config.device), precision)

    before = judge(module, "fp32") if config.pretrained else None
    history = train(
        module,
        images,
        preprocessing,
        recipe,
        seed=config.seed,
        device=config.device,
        regularizer=regularizer,
        evaluate=judge,
        checkpoint=folder / CHECKPOINT,
        resume=resume and can_resume(folder),
        facts={"model": spec.name, "regularizer": asdict(wanted) if wanted else None},
        tracker=config.tracker,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    document["status"] = FINISHED
    document["accuracy"] = {"before": before, "test": judge(module, "fp32")}
    document["epochs"] = history.to_json()
    document["timings"] = {"training": history.seconds}
    if processes.rank() > 0:
        return document
    _write_weights(module, document, preprocessing, regularizer, folder)
    history.write_csv(folder / "history.csv")
    seal_run(folder, document)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return document


def _start(spec: ModelSpec, images: Images, config: TrainConfig) -> tuple[nn.Module, Preprocessing, str | None]:
    """The network as training finds it, how it wants its images, and the name of its weights, if any."""
    if config.pretrained:
        network = load_network(
            spec,
            images,
            dataset=config.dataset,
            data_dir=config.data_dir,
            weights=config.weights,
            mean=config.mean,
            std=config.std,
            size=config.size,
            resize=config.resize,
            interpolation=config.interpolation,
        )
        if network.classes != images.classes:
            raise DataError(f"The weights {network.weights!r} have other classes than {config.dataset}.")
        return network.module, network.needed_preprocessing(), network.weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        module: nn.Module = resolve(spec.build)(len(images.classes))
    return module, choose_preprocessing(images, config), None


def choose_preprocessing(images: Images, config: TrainConfig) -> Preprocessing:
    """As asked for; else the images' own size, and the mean and deviation of their pixels, to four digits."""
    if isinstance(images, TensorImages):
        mean, std = mean_and_deviation(images.pixels)
        size = min(images.pixels.shape[1:3])
    else:
        mean, std, size = _MEAN, _STD, _SIDE
    size = config.size or size
    how = config.interpolation or "bilinear"
    return Preprocessing(config.mean or mean, config.std or std, size, config.resize or size, how)


def mean_and_deviation(pixels: UInt8[Tensor, "n h w 3"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each channel's values as shares of 255, to four digits, from 256 counts a channel: in bounded memory."""
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for part in torch.split(pixels, max(1, _AT_ONCE // pixels[0].numel())):
        for channel, own in zip(counts, part.flatten(0, 2).T, strict=True):
            channel += torch.bincount(own, minlength=256)
    number = counts.sum(1, keepdim=True)
    mean = (counts * values).sum(1, keepdim=True) / number
    variance = (counts * (values - mean) ** 2).sum(1) / (number[:, 0] - 1).clamp(min=1)
    return tuple(round(v, 4) for v in mean[:, 0].tolist()), tuple(round(v, 4) for v in variance.sqrt().tolist())


def _write_weights(
    module: nn.Module,
    document: dict[str, Any],
    preprocessing: Preprocessing,
    regularizer: Regularizer | None,
    folder: Path,
) -> None:
    """The trained weights, and in the document which they are."""
    path = folder / "model.safetensors"
    write_trained(
        module.state_dict(),
        path,
        model=document["model"],
        dataset=document["dataset"],
        classes=tuple(document["classes"]),
        preprocessing=preprocessing,
        learned=regularizer.learned() if regularizer else None,
    )
    document["weights"] = {"file": path.name, "sha256": sha256_of(path)}
