"""A module and batches as the user gives them: the parts they are about, and one pass over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import console
from ..data.batches import Batch, read_batch
from ..data.labels import check_labels
from ..errors import ConfigError, DataError
from ..networks.anatomy import find_anatomy, get_layers
from ..networks.device import CPU, resolve_device
from ..networks.head import get_head, head_if_fed
from ..networks.inference import batch_bound, batch_warning, prepare
from ..networks.layer import Layer
from ..networks.logits import check_finite
from ..networks.trace import Recording, record
from ..networks.wrappers import unwrapped
from ..statistics.statistic import Statistic
from .collector import Collector
from .context import Context, View, Visit
from .evidence import Evidence, gather_kept
from .replay import run_on

# Of (images, labels, …), or of mappings that name them: see data.batches.read_batch.
Batches = Iterable[Any]


@dataclass(frozen=True)
class Parts:
    """A module with the layer to read, its head, and the one recorded pass in which they were found.

    ``head`` is None where there is none, and ``problem`` says why.
    """

    module: nn.Module
    recording: Recording
    layer: Layer
    head: str | None
    problem: str

    def context(self, seed: int = 0, device: torch.device = CPU) -> Context:
        """The context of strategies and metrics at the layer."""
        fed = head_if_fed(self.recording, self.head, self.layer) if self.head is not None else None
        return Context(self.layer.of(self.module), fed, seed, device=device)

    def named_head(self) -> str:
        """The head's name, or ConfigError where it was not found."""
        if self.head is None:
            raise ConfigError(f"No head is found: {self.problem}. Name it with head=.")
        return self.head

    @property
    def classes(self) -> int:
        """The network's outputs."""
        logits = self.recording.output
        if self.head is None and isinstance(logits, Tensor) and logits.ndim == 2:
            return logits.shape[1]
        return get_head(self.module, self.named_head()).out_features


def look(module: nn.Module, batches: Batches, layer: str | Layer | None, head: str | None) -> Parts:
    """The layer asked for, as its output asks to be read, and the head."""
    module, example = unwrapped(module), first_images(batches)
    recording = record(prepare(module, [], example.device), example)
    check_finite(recording.output)
    if bound := batch_bound(module):
        console.warn(batch_warning(bound, "as they are given"))
    anatomy = find_anatomy(recording, head)
    found = (anatomy.head, anatomy.problem)
    if isinstance(layer, Layer):
        layer.of(module)
        return Parts(module, recording, layer, *found)
    if anatomy.layer is not None and layer in (None, anatomy.layer.name):
        return Parts(module, recording, anatomy.layer, *found)
    if layer is None and anatomy.head is None:
        raise ConfigError(f"No head is found: {anatomy.problem}. Name it with head=, or choose a layer with layer=.")
    if layer is None:
        raise ConfigError(
            f"No layer feeds the head: {anatomy.problem}. Choose a layer with layer=, or a head with head=."
        )
    layers = get_layers(recording, [layer])
    if len(layers) > 1:
        raise ConfigError(f"{layer!r} stands for {len(layers)} layers. Choose one.")
    return Parts(module, recording, layers[0], *found)


def collect(parts: Parts, batches: Batches, statistics: Iterable[Statistic], device: str) -> Evidence:
    """One pass over ``batches``: the statistics and the responses of the layer."""
    place = resolve_device(device)
    classes = parts.classes
    images = _count(batches)
    labels = torch.full((images,), -1)

    def noted() -> Iterator[Batch]:
        for batch in _numbered(batches, classes, place):
            if int(batch.indices[-1]) >= images:
                raise DataError(f"The batches hold more images than the {images} they announced.")
            labels[batch.indices.cpu()] = batch.labels.cpu()
            yield batch

    wanted = list(statistics)
    collector = Collector(
        prepare(parts.module, [parts.layer], place, first_images(batches)),
        {parts.layer: wanted},
        classes=classes,
        device=place,
        keep=lambda _layer, filters: torch.zeros(images, filters),
    )
    evidence = collector.run(noted()).finish("train")[parts.layer]
    assert evidence.responses is not None
    evidence.responses, evidence.labels = evidence.responses[labels >= 0], labels[labels >= 0]
    gather_kept(evidence, wanted, place)
    return evidence


def run_on_given(parts: Parts, batches: Batches, device: str, visit: Visit | None = None) -> Iterator[View]:
    """Every batch, run on from what ``visit`` makes of the layer's output: what metrics that run again are given."""
    place = resolve_device(device)
    ready = prepare(parts.module, [parts.layer], place, first_images(batches))
    return run_on(ready, parts.layer, _numbered(batches, parts.classes, place), visit)


def _numbered(batches: Batches, classes: int, place: torch.device) -> Iterator[Batch]:
    """The batches on a device, their labels checked, their images numbered as they come; empty ones left out."""
    start = 0
    for shown, truth in map(read_batch, batches):
        labels = check_labels(truth, len(shown), classes)
        indices = torch.arange(start, start + len(shown))
        start += len(shown)
        if len(shown):
            yield Batch(shown.to(place), labels.to(place), indices.to(place))


def first_images(batches: Batches) -> Tensor:
    """A few images, on the CPU."""
    for shown, _ in map(read_batch, batches):
        return shown[:8].cpu()
    raise DataError("The batches hold no images.")


def _count(batches: Batches) -> int:
    """How many images ``batches`` holds, without reading them where it can say."""
    for part in ("sampler", "dataset"):  # a sampler may draw fewer images, or more
        held = getattr(batches, part, None)
        if isinstance(held, Sized):
            return len(held)
    if isinstance(batches, Sequence):
        return sum(len(shown) for shown, _ in map(read_batch, batches))
    raise ConfigError(
        "ddeep reads the batches more than once: give a DataLoader over a dataset with a length, or a list of "
        "(images, labels)."
    )
