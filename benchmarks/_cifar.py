"""The paper's experiment, as benchmarks use it: ResNet20 on CIFAR-10, normalised batches ready in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ddeep.data.batches import Batch
from ddeep.data.images import TensorImages
from ddeep.data.loader import Loader
from ddeep.evidence.collector import Collector
from ddeep.evidence.evidence import Evidence
from ddeep.evidence.subject import Subject
from ddeep.experiments.run import Plan, make_plan
from ddeep.experiments.settings import RunConfig, read_config
from ddeep.networks.device import Precision, autocast
from ddeep.networks.layer import Layer
from ddeep.statistics.statistic import Statistic

from ._common import Settings

BATCH = 256
RUN = {"model": "resnet20", "dataset": "cifar10", "strategy": "paper", "batch_size": BATCH}
BLOCKS = ("relu", "layer?.?")  # the outputs of the stem and of the nine blocks


def plan(settings: Settings, **changes: Any) -> Plan:
    """What ``ddeep run`` would do."""
    return make_plan(read_config(RunConfig, {**RUN, "data_dir": settings.data_dir, **changes}))


def ready_batches(subject: Subject, images: int) -> list[Batch]:
    """Normalised batches of so many images of the train split."""
    part = some_images(subject, images)
    return list(Loader(part, subject.network.preprocessing, BATCH, subject.device))


def some_images(subject: Subject, images: int) -> TensorImages:
    """So many images of the train split, evenly spaced, so that all classes are there."""
    train = subject.images["train"]
    assert isinstance(train, TensorImages)
    rows = torch.arange(images) * len(train) // images
    return TensorImages.of(train.pixels[rows], train.labels[rows], train.classes)


def images_of(batches: Sequence[Batch]) -> int:
    """How many images they hold."""
    return sum(len(batch.labels) for batch in batches)


def smaller(subject: Subject, images: int, precision: Precision) -> Subject:
    """The same network over a part of the train split."""
    part = some_images(subject, images)
    return replace(subject, images={**subject.images, "train": part}, precision=precision)


def bare(module: nn.Module, batches: Sequence[Batch], precision: Precision) -> None:
    """The forward pass and nothing else."""
    device = batches[0].images.device
    with torch.no_grad(), autocast(device, precision):
        for batch in batches:
            module(batch.images)


def gather(
    module: nn.Module,
    batches: Sequence[Batch],
    requests: dict[Layer, list[Statistic]],
    classes: int,
    precision: Precision = "fp32",
    *,
    keep: bool = True,
) -> dict[Layer, Evidence]:
    """The evidence pass of ``ddeep run``, responses kept in memory."""
    images = images_of(batches)
    gathering = Collector(
        module,
        requests,
        classes=classes,
        device=batches[0].images.device,
        precision=precision,
        keep=(lambda _layer, filters: torch.zeros(images, filters)) if keep else None,
    )
    found = gathering.run(batches).finish("train")
    for evidence in found.values():
        evidence.labels = torch.cat([batch.labels for batch in batches])
    return found
