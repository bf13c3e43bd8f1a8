"""A pass over a split: in one process or several, resumed where it was killed, its outcome in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import console
from ..data.batches import Batch
from ..data.images import FileImages, Images, Split, part_of
from ..data.loader import Loader
from ..errors import DdeepError
from ..networks.inference import prepare
from ..networks.layer import Layer
from ..statistics.basic import ClassCounts
from ..statistics.statistic import Statistic
from . import processes
from .collector import Collector
from .evidence import Evidence
from .resume import PartialPass
from .subject import Subject


@dataclass(frozen=True)
class Pass:
    """What one pass gathers: the first rounds of ``requests``, and the responses of the layers in ``writing``."""

    split: Split
    requests: Mapping[Layer, list[Statistic]]
    writing: frozenset[Layer]


@dataclass
class Share:
    """A process's part of a pass: every ``world``-th batch, from batch ``rank`` on.

    ``only`` are the images it is about, all of the split where it is None. ``seen`` says which of them it has read,
    ``skipped`` how many it could not.
    """

    subject: Subject
    wanted: Pass
    rank: int = 0
    world: int = 1
    only: Int64[Tensor, " m"] | None = None
    skipped: int = 0
    seen: Tensor = field(init=False)
    images: Images = field(init=False, repr=False)

    def __post_init__(self) -> None:
        images = self.subject.images[self.wanted.split]
        if self.only is not None:
            images = part_of(images, self.only, images.labels[self.only], images.classes)
        self.images = images
        self.seen = torch.zeros(len(images), dtype=torch.bool, device=self.subject.device)

    def count(self) -> int:
        """How many images are in its batches."""
        count, size = len(self.seen), self.subject.batch_size
        starts = range(self.rank * size, count, self.world * size)
        return sum(min(size, count - start) for start in starts)

    def key(self) -> dict[str, Any]:
        """What the share depends on, for the folder of an unfinished pass."""
        layers = {layer.name: [repr(s) for s in statistics] for layer, statistics in self.wanted.requests.items()}
        entries = [self.subject.unfinished_key(self.wanted.split, layer) for layer in self.wanted.requests]
        part: list[Any] = [self.rank, self.world, self.subject.batch_size, self.subject.skip_bad]
        if self.only is not None:
            part.append(hashlib.sha256(self.only.numpy().tobytes()).hexdigest())
        writing = sorted(layer.name for layer in self.wanted.writing)
        return {"entries": entries, "statistics": layers, "writing": writing, "part": part}

    def gather(self, partial: PartialPass) -> Collector:
        """Run the share's batches, going on where an interrupted attempt stopped."""
        subject, images = self.subject, self.images

        def keep(layer: Layer, filters: int) -> Tensor | None:
            return partial.rows(layer, len(images), filters) if layer in self.wanted.writing else None

        collector = Collector(
            prepare(subject.network.module, list(self.wanted.requests), subject.device, subject.example),
            self.wanted.requests,
            classes=len(subject.classes),
            device=subject.device,
            precision=subject.precision,
            keep=keep,
        )
        done = partial.resume(collector, self.seen)
        loader = Loader(
            images,
            subject.network.preprocessing,
            subject.batch_size,
            subject.device,
            rank=self.rank,
            world=self.world,
            first=done,
            skip_bad=subject.skip_bad,
        )
        with console.progress(f"Evidence ({self.wanted.split} split)", total=self.count()) as advance:
            advance(int(self.seen.sum()))

            def after(count: int) -> None:
                nonlocal done
                done += 1
                advance(count)
                partial.save_now_and_then(done, self.seen, collector)

            collector.run(self._labelled(loader), after)
        self.skipped = loader.skipped
        if loader.skipped:
            console.warn(
                f"{loader.skipped} images of the {self.wanted.split} split were skipped, "
                f"the first: {loader.complaints[0]}"
            )
        return collector

    def _labelled(self, loader: Loader) -> Iterator[Batch]:
        """The batches, labelled with the network's outputs; what they hold is noted as seen."""
        labels = self.subject.labels(self.wanted.split)
        labels = (labels if self.only is None else labels[self.only]).to(self.subject.device)
        for batch in loader:
            self.seen[batch.indices] = True
            yield batch._replace(labels=labels[batch.indices])


def run_here(subject: Subject, wanted: Pass) -> dict[Layer, Evidence]:
    """Run a pass in this process; its outcome is in the cache, and returned."""
    return _run(Share(subject, wanted))


def run_with_processes(subject: Subject, wanted: Pass) -> dict[Layer, Evidence]:
    """The same with all processes that torchrun has started."""
    if processes.world() > 1:
        processes.broadcast(wanted)
    return _run(Share(subject, wanted, processes.rank(), processes.world()))


def serve(subject: Subject) -> None:
    """Work for rank 0 until it needs no more."""
    while (wanted := processes.receive()) is not None:
        _run(Share(subject, wanted, processes.rank(), processes.world()))


def _run(share: Share) -> dict[Layer, Evidence]:
    with PartialPass(share.key()) as partial:
        found = run_share(share, partial) if share.world == 1 else _run_together(share, partial)
        if share.rank == 0:
            for layer, evidence in found.items():
                store(share, partial, layer, evidence)
    return found


def run_share(share: Share, partial: PartialPass) -> dict[Layer, Evidence]:
    """The evidence of one share by itself."""
    return share.gather(partial).finish(share.wanted.split)


def _run_together(share: Share, partial: PartialPass) -> dict[Layer, Evidence]:
    """All processes' evidence, merged in each; all rows at rank 0. A failure in one ends all with its message."""
    device, split = share.subject.device, share.wanted.split
    problem, collector = None, None
    try:
        collector = share.gather(partial)
    except Exception as error:
        problem = str(error) if isinstance(error, DdeepError) else f"{type(error).__name__}: {error}"
    processes.raise_together(problem)
    assert collector is not None
    filters = {layer: gathered.filters for layer, gathered in collector.layers.items()}
    for layer, count in processes.agreed(filters).items():
        if layer not in collector.layers:  # fewer batches than processes: this one had none
            collector.begin(layer, count)
    found, problem = {}, None
    try:
        found = {layer: collector.layers[layer].finish(layer, split) for layer in share.wanted.requests}
    except DdeepError as error:
        problem = str(error)
    processes.raise_together(problem)
    for layer, evidence in found.items():
        for statistic in evidence.statistics:
            processes.merge(statistic, device)
        evidence.class_counts = evidence[ClassCounts()].counts
        if layer in share.wanted.writing:
            assert evidence.responses is not None
            processes.collect_rows(share.seen.cpu(), evidence.responses, partial.path(layer), device)
    share.seen, share.skipped = processes.total(share.seen, share.skipped)
    images = share.subject.images[split]
    if isinstance(images, FileImages):
        images.contents.note(torch.arange(len(images)), processes.union(images.contents.digests, device))
    return found


def store(share: Share, partial: PartialPass, layer: Layer, evidence: Evidence) -> None:
    """Put a layer's finished evidence into the cache; where images were skipped, let go of their rows in its place."""
    entry = share.subject.entry(share.wanted.split, layer)
    labels = share.subject.labels(share.wanted.split)
    kept = layer in share.wanted.writing
    if share.skipped:
        seen = share.seen.cpu()
        if kept and evidence.responses is not None:
            evidence.responses, evidence.labels = evidence.responses[seen].clone(), labels[seen]
        return
    for statistic in evidence.statistics:
        if statistic.extras or not kept:
            entry.save(statistic, evidence.filters)
    if kept:
        partial.flush()
        entry.adopt(partial.path(layer))
        evidence.labels = labels
