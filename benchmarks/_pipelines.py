"""The two pipelines that ``plain_pipeline`` holds against each other: pixels in, filters per class out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ddeep.data.images import TensorImages
from ddeep.evidence.store import gather
from ddeep.experiments.run import Plan
from ddeep.selections.select import choose

from ._cifar import BATCH, plan, smaller
from ._common import Settings

FIRST = "relu"


def prepared(settings: Settings, images: int, place: str, precision: Any) -> Plan:
    """The job at one layer over the first images."""
    job = plan(settings, **({"layer": FIRST} if place == "first" else {}))
    return replace(job, subject=smaller(job.subject, images, precision))


def ours(job: Plan, cache: Path) -> list[list[int]]:
    """What ``ddeep run`` does, with a cache of its own."""
    os.environ["DDEEP_CACHE"] = str(cache)
    evidence = gather(job.subject, "train", {job.layer: job.statistics["train"]}, [job.layer])[job.layer]
    assert job.strategy is not None
    return [list(row) for row in choose(job.strategy, evidence, job.k, job.context).filters]


def plain(job: Plan) -> list[list[int]]:
    """What a notebook does."""
    from torchvision import datasets, transforms

    network, train = job.subject.network, job.subject.images["train"]
    assert isinstance(train, TensorImages)
    dataset = object.__new__(datasets.CIFAR10)  # the real class, its pixels in place of its download
    dataset.data, dataset.targets, dataset.target_transform = train.pixels.numpy(), train.labels.tolist(), None
    recipe = network.preprocessing
    dataset.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)])
    loader = DataLoader(dataset, BATCH, num_workers=2)
    maps: list[Tensor] = []
    labels: list[Tensor] = []
    network.module.eval()
    network.module.get_submodule(job.layer.name).register_forward_hook(lambda _m, _i, output: maps.append(output))
    with torch.no_grad():
        for pictures, truth in loader:
            network.module(pictures)
            labels.append(truth)
    responses, truth = torch.cat([part.mean((2, 3)) for part in maps]), torch.cat(labels)
    largest = responses.abs().argsort(dim=1, descending=True)[:, : int(job.k)]
    filters = responses.shape[1]
    counts = [torch.bincount(largest[truth == c].flatten(), minlength=filters) for c in range(len(train.classes))]
    return [row.argsort(descending=True)[: int(job.k)].tolist() for row in counts]
