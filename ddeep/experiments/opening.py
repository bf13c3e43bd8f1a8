"""From settings to what an experiment is about: a network and images, or responses alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import console
from ..data.images import SPLITS, FileImages, Images, Split
from ..data.pixel_cache import left_in_files
from ..data.response_table import ResponseFile, open_responses
from ..errors import ConfigError, DataError
from ..evidence import processes
from ..evidence.passes import serve
from ..evidence.subject import Subject
from ..files.downloads import nothing_fetched
from ..heads.penalty import fit
from ..networks.device import resolve_device
from ..networks.head import Head
from ..networks.network import load_network, response_network
from ..networks.outputs import with_names
from ..provenance import provenance
from ..registry.registry import registry
from ..registry.specs import DatasetSpec, resolve
from .settings import ImagesConfig, SubjectConfig


def open_subject(config: SubjectConfig) -> Subject:
    """Open the dataset, load the network and choose the device that ``config`` names.

    Of several processes only rank 0 returns; the others serve its passes and end.
    """
    subject = build_subject(config, processes.connect(resolve_device(config.device)))
    if processes.rank() > 0:
        serve(subject)
        processes.close()
        raise processes.WorkerDone
    return subject


def build_subject(config: SubjectConfig, device: torch.device) -> Subject:
    """The dataset and the network that ``config`` names, in this process alone."""
    if config.responses is not None:
        return _of_responses(config, config.responses, device)
    assert config.model is not None
    spec = registry().find("model", config.model)
    dataset = config.dataset or spec.dataset
    if dataset is None:
        raise DataError(f"{spec.name} names no dataset of its own. Choose one with --dataset: `ddeep list datasets`.")
    images = open_images(registry().find("dataset", dataset), config)
    network = load_network(
        spec,
        images["train"],
        dataset=dataset,
        data_dir=config.data_dir,
        weights=config.weights,
        mean=config.mean,
        std=config.std,
        size=config.size,
        resize=config.resize,
        interpolation=config.interpolation,
        ema=config.ema,
        head=config.head,
    )
    console.note(f"Images: {network.recipe_line}.")
    images = {split: with_names(one, network.classes) for split, one in images.items()}
    return Subject(
        network,
        images,
        device,
        config.precision,
        config.batch_size,
        config.skip_bad_images,
        dataset,
        _known_execution(config.execution),
        partial(open_elsewhere, config),
    )


def _known_execution(name: str | None) -> str | None:
    if name is not None:
        registry().find("execution", name)
    return name


def open_elsewhere(config: SubjectConfig) -> Subject:
    """The same in a process that gathers parts of its evidence: of small images those of its parts alone are read."""
    with left_in_files(), nothing_fetched():
        return build_subject(config.model_copy(update={"execution": None}), resolve_device(config.device))


def open_images(spec: DatasetSpec, config: ImagesConfig) -> dict[Split, Images]:
    """Both splits of a dataset, its classes in the order that the user has fixed, where one may."""
    if config.classes is not None and not spec.ordered_by_user:
        raise ConfigError(
            f"--classes fixes the order of class folders, but the dataset {spec.name!r} has an order of its own. Leave "
            "it out, or take --dataset folder."
        )
    given = {"classes": config.classes} if config.classes is not None else {}
    opened = resolve(spec.open)
    return {split: opened(config.data_dir, split, **given) for split in SPLITS}


def open_left_in_files(config: SubjectConfig, subject: Subject) -> Mapping[Split, Images]:
    """The images of ``subject`` as the files they are, as those see them who read a part."""
    if config.responses is not None or all(isinstance(images, FileImages) for images in subject.images.values()):
        return subject.images
    with left_in_files():
        images = open_images(registry().find("dataset", subject.dataset), config)
    return {split: with_names(one, subject.classes) for split, one in images.items()}


def _of_responses(config: SubjectConfig, path: Path, device: torch.device) -> Subject:
    """The responses of a file, with the head it holds, or else one fitted to its train split."""
    opened = open_responses(path)
    head, weights = _head(opened, config.seed), str(path)
    network = response_network(head, opened.images["train"].classes, weights)
    return Subject(network, opened.images, device, config.precision, config.batch_size, dataset=path.stem)


def _head(opened: ResponseFile, seed: int) -> Head:
    table = opened.images["train"]
    if opened.weight is not None:
        bias = torch.zeros(len(opened.weight)) if opened.bias is None else opened.bias
        return Head(opened.weight.float(), bias.float())
    console.note("The file has no head (weight, bias): a dense one is fitted to its train responses.")
    zeros = torch.zeros(len(table.classes), table.rows.shape[1])
    everything = torch.ones(1, *zeros.shape, dtype=torch.bool)
    ((head, _),) = fit(table.rows.float(), table.labels, Head(zeros, zeros[:, 0].clone()), everything, seed=seed)
    return head


def provenance_of(subject: Subject) -> dict[str, Any]:
    """Hashes and versions that every result file records."""
    return provenance(subject.hashes, registry().versions())
