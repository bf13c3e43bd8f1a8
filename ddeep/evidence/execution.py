"""Where a pass runs: in this process, in those that torchrun has started, or wherever a plugin takes its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from safetensors.torch import load, save
from torch import Tensor

from ..data.images import FileImages
from ..errors import ConfigError
from ..networks.layer import Layer
from ..registry.registry import registry
from ..registry.specs import resolve
from ..statistics.basic import ClassCounts
from ..statistics.statistic import Statistic
from . import processes
from .evidence import Evidence, by_round
from .passes import Pass, Share, run_here, run_share, run_with_processes, store
from .resume import PartialPass
from .subject import Subject

TORCHRUN = "torchrun"
PART = 4096  # images


def run_pass(subject: Subject, wanted: Pass) -> dict[Layer, Evidence]:
    """Run a pass where ``subject`` says; its outcome is in the cache, and returned.

    Images that were skipped leave no row in the kept responses, and nothing in the cache.
    """
    name = subject.execution or (TORCHRUN if processes.world() > 1 else None)
    if name is None:
        return run_here(subject, wanted)
    if name != TORCHRUN and processes.world() > 1:
        raise ConfigError(f"torchrun and --execution {name} would both share out the images: take one of them.")
    found: dict[Layer, Evidence] = resolve(registry().find("execution", name).gather)(Work(subject, wanted))
    return found


class Worker:
    """What gathers parts of a pass, numbers 0 to ``of`` - 1, each every ``of``-th batch.

    It can be sent to another process, which opens network and images once, when it gathers the first.
    """

    def __init__(self, open_subject: Callable[[], Subject], wanted: Pass, of: int) -> None:
        self.of = of
        self._open, self._wanted = open_subject, wanted
        self._subject: Subject | None = None

    def gather(self, number: int) -> bytes:
        """A part's evidence, as ``Work.merged`` takes it."""
        self._subject = self._subject or self._open()
        subject, wanted = self._subject, self._wanted
        images = _batches(len(subject.images[wanted.split]), subject.batch_size)[number :: self.of]
        share = Share(subject, wanted, only=torch.cat(images))
        with PartialPass(share.key()) as partial:
            found, seen = run_share(share, partial), share.seen.cpu()
            assert share.only is not None
            tensors = {"images": share.only[seen], "skipped": torch.tensor([share.skipped])}
            if isinstance(share.images, FileImages):
                tensors["digests"] = share.images.contents.complete(seen)[seen]
            for place, layer in enumerate(wanted.requests):
                for name, state in _states(found[layer].statistics).items():
                    tensors[f"{place}.{name}"] = state
                if layer in wanted.writing:
                    responses = found[layer].responses
                    assert responses is not None
                    tensors[f"{place}.responses"] = responses[seen].contiguous()
            return save(tensors)


@dataclass(frozen=True)
class Work:
    """One pass over a split, for an execution to share out: a worker for any process, and the results merged."""

    subject: Subject
    wanted: Pass

    def with_processes(self) -> dict[Layer, Evidence]:
        """Run it in the processes that torchrun has started; where it has started none, in this one."""
        return run_with_processes(self.subject, self.wanted)

    def worker(self) -> Worker:
        """What gathers the pass elsewhere, in parts of about 4,096 images each."""
        if self.subject.elsewhere is None:
            raise ConfigError(
                f"A network of your own cannot be opened elsewhere, as --execution {self.subject.execution} does. Name "
                "it (--model), or leave that out."
            )
        count = len(self.subject.images[self.wanted.split])
        batches = len(_batches(count, self.subject.batch_size))
        return Worker(self.subject.elsewhere, self._sent(), min(batches, max(1, -(-count // PART))))

    def _sent(self) -> Pass:
        """What workers gather: where responses are kept, nothing that those give again."""
        wanted = self.wanted
        requests = {
            layer: [statistic for statistic in asked if statistic.extras or layer not in wanted.writing]
            for layer, asked in wanted.requests.items()
        }
        return Pass(wanted.split, requests, wanted.writing)

    def merged(self, results: Iterable[bytes]) -> dict[Layer, Evidence]:
        """The evidence of all parts, in whatever order their results come; one is held at a time."""
        share = Share(self.subject, self.wanted)
        requests = {layer: by_round([ClassCounts(), *asked])[0] for layer, asked in self._sent().requests.items()}
        with PartialPass(share.key()) as partial:
            found = {layer: self._empty(layer, asked, partial) for layer, asked in requests.items()}
            for result in results:
                _add(load(result), found, share)
            for layer, evidence in found.items():
                evidence.class_counts = evidence[ClassCounts()].counts
                store(share, partial, layer, evidence)
        return found

    def _empty(self, layer: Layer, asked: Iterable[Statistic], partial: PartialPass) -> Evidence:
        subject, filters, classes = self.subject, self.subject.filters(layer), len(self.subject.classes)
        twins = [statistic.twin() for statistic in asked]
        for statistic in twins:
            statistic.start(classes, filters, "cpu")
        count = len(subject.images[self.wanted.split])
        rows = partial.rows(layer, count, filters) if layer in self.wanted.writing else None
        counts = torch.zeros(classes, dtype=torch.int64)
        return Evidence(layer, self.wanted.split, counts, filters, {one: one for one in twins}, rows)


def _batches(images: int, size: int) -> tuple[Int64[Tensor, " b"], ...]:
    return torch.split(torch.arange(images), size)


def _states(statistics: Iterable[Statistic]) -> dict[str, Tensor]:
    return {f"{s!r}.{name}": tensor for s in statistics for name, tensor in s.state().items()}


def _add(tensors: dict[str, Tensor], found: dict[Layer, Evidence], share: Share) -> None:
    images = tensors["images"]
    share.seen[images.to(share.seen.device)] = True
    share.skipped += int(tensors["skipped"])
    if isinstance(share.images, FileImages):
        share.images.contents.note(images, tensors["digests"])
    for number, evidence in enumerate(found.values()):
        for statistic in evidence.statistics:
            other = statistic.twin()
            other.start(evidence.classes, evidence.filters, "cpu")
            other.load_state({name: tensors[f"{number}.{statistic!r}.{name}"] for name in statistic.reductions()})
            statistic.merge(other)
        if evidence.responses is not None:
            evidence.responses[images] = tensors[f"{number}.responses"]
