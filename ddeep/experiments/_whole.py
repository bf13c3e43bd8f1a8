"""The network of a run, opened again to take some of its classes out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import Images, Split, part_of
from ..data.loader import Loader
from ..errors import ConfigError, suggestion
from ..evidence.subject import Subject
from ..exports.plain import plain_network
from ..networks.inference import prepare
from ..networks.weights import weights_hash
from ..results.run import load, read_run
from .reopen import reopen
from .settings import CutConfig


@dataclass(frozen=True, eq=False)
class Whole:
    """The network that is cut, plain, with its images and the ``outputs`` to keep, in its order.

    ``module`` is the run's own network ``run``, or that with other filters for the kept classes.
    """

    document: dict[str, Any]
    subject: Subject
    run: nn.Module
    module: nn.Module
    outputs: tuple[int, ...]

    @property
    def head(self) -> str:
        """Name of the final linear layer."""
        return str(self.document["head"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the kept classes."""
        return tuple(self.subject.classes[c] for c in self.outputs)

    def images(self, split: Split) -> Images:
        """Those of the kept classes, labelled 0, 1, … in the order of ``outputs``."""
        labels = self.subject.labels(split)
        place = torch.full((len(self.subject.classes),), -1)
        place[list(self.outputs)] = torch.arange(len(self.outputs))
        indices = (place[labels] >= 0).nonzero()[:, 0]
        return part_of(self.subject.images[split], indices, place[labels[indices]], self.classes)

    def of_kept(self) -> Subject:
        """``module`` as a subject whose train images are those of the kept classes alone: the others are absent."""
        subject, labels = self.subject, self.subject.labels("train")
        indices = torch.isin(labels, torch.tensor(self.outputs)).nonzero()[:, 0]
        images = part_of(subject.images["train"], indices, labels[indices], subject.classes)
        network = replace(subject.network, module=self.module, weights_hash=weights_hash(self.module.state_dict()))
        return replace(subject, network=network, images={**subject.images, "train": images})


@torch.no_grad()
def logits_of(module: nn.Module, images: Images, whole: Whole) -> Float[Tensor, "n c"]:
    """Of every image, in order."""
    ready, device = prepare(module, [], whole.subject.device, whole.subject.example), whole.subject.device
    loader = Loader(images, whole.subject.network.needed_preprocessing(), whole.subject.batch_size, device)
    return torch.cat([ready(batch.images).float().cpu() for batch in loader])


def open_whole(run: Path, config: CutConfig) -> Whole:
    """The network and images of a run, and the classes to keep by number. Raises DdeepError as ``cut_run`` does."""
    document = read_run(run)
    known = [row["class"] for row in document["per_class"]]
    outputs = class_numbers(config.classes, known)
    if len(outputs) == len(known):
        raise ConfigError(f"These are all {len(known)} classes: nothing would be cut. `ddeep export` writes them all.")
    module = plain_network(load(run), str(document["head"]))
    return Whole(document, reopen(document, config.data_dir, config.device), module, module, outputs)


def class_numbers(names: tuple[str, ...], known: list[str]) -> tuple[int, ...]:
    """The outputs that ``names`` stand for, each once, in the order of the network's. Raises ConfigError."""
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no class {name!r} in the run.{suggestion(name, known) or _listed(known)}")
    if not names:
        raise ConfigError(f"Which classes? Give --classes, some of: {', '.join(known[:10])}.")
    return tuple(sorted({known.index(name) for name in names}))


def _listed(known: list[str]) -> str:
    return f" Its classes are: {', '.join(known[:10])}{', …' if len(known) > 10 else ''}."
