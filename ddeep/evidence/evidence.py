"""Evidence: what one pass over a split leaves behind for strategies and metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import psutil
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..data.labels import check_range
from ..errors import ConfigError
from ..networks.layer import Layer
from ..statistics.basic import ClassCounts
from ..statistics.batch import ResponseBatch
from ..statistics.statistic import Statistic

CHUNK = 2048  # images handed to the statistics at once: enough to make what each call costs small
KEPT_CHUNK = 8192  # of kept responses, where tables larger than the processor's cache are gone through for each chunk

S = TypeVar("S", bound=Statistic)
T = TypeVar("T")


@dataclass
class Evidence:
    """The statistics of one layer over one split, and its responses where they were kept.

    ``class_counts`` are the images of each class; ``responses`` ``(N, K)`` float32 and ``labels`` ``(N,)`` on the CPU.
    """

    layer: Layer
    split: str
    class_counts: Int64[Tensor, " c"]
    filters: int
    statistics: dict[Statistic, Statistic] = field(default_factory=dict)
    responses: Float[Tensor, "n k"] | None = None
    labels: Int64[Tensor, " n"] | None = None
    derivations: dict[tuple[Hashable, ...], Any] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, wanted: S) -> S:
        """The gathered statistic equal to ``wanted``."""
        try:
            return self.statistics[wanted]  # type: ignore[return-value]
        except KeyError:
            raise ConfigError(
                f"{wanted!r} was not asked for at layer {self.layer.name!r} of the {self.split} split. "
                "Declare it in the spec's `needs`."
            ) from None

    @property
    def classes(self) -> int:
        return len(self.class_counts)

    @property
    def present(self) -> Bool[Tensor, " c"]:
        """Which classes have images."""
        return self.class_counts > 0

    def cached_responses(self) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
        """The responses and labels, for strategies that learn from them."""
        if self.responses is None or self.labels is None:
            raise ConfigError(
                f"The responses of layer {self.layer.name!r} ({self.split} split) were not asked for. Declare them: a "
                f"strategy by learned=True, a metric by responses=({self.split!r},)."
            )
        return self.responses, self.labels

    def derived(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """``make(responses, labels, *arguments)`` of the kept responses, worked out once for all who ask for it.

        Strategies that start from the same quantity, or that are asked several times, share it: whoever asks with the
        same function and arguments is given the same object, to be read and not changed. It sees responses and labels
        alone, so it is the same whoever asked first. ``forget`` lets go of all of them.
        """
        responses, labels = self.cached_responses()
        key = (make, *arguments)
        if key not in self.derivations:
            self.derivations[key] = make(responses, labels, *arguments)
        found: T = self.derivations[key]
        return found

    def forget(self) -> None:
        """Free what has been derived."""
        self.derivations.clear()

    def limited(self, statistics: Iterable[Statistic], responses: bool) -> Self:
        """What was declared and nothing else, whatever else is at hand: ``statistics``, what they wait for, responses.

        So no figure depends on what other strategies need, or on what an earlier command has left in the cache.
        """
        declared = {statistic for round_ in by_round(statistics) for statistic in round_}
        return replace(
            self,
            statistics={one: gathered for one, gathered in self.statistics.items() if one in declared},
            responses=self.responses if responses else None,
            labels=self.labels if responses else None,
        )


def by_round(statistics: Iterable[Statistic]) -> list[list[Statistic]]:
    """Split into rounds, each statistic once and in the round after all it waits for.

    The first round, which may be empty, is gathered from the images, the others from kept responses.
    """
    depth: dict[Statistic, int] = {}

    def place(statistic: Statistic) -> int:
        if statistic not in depth:
            depth[statistic] = max((1 + place(needed) for needed in statistic.after()), default=0)
        return depth[statistic]

    for statistic in statistics:
        place(statistic)
    return [[s for s, at in depth.items() if at == level] for level in range(max(depth.values(), default=0) + 1)]


def chunks(
    responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], device: torch.device
) -> Iterator[ResponseBatch]:
    """Kept responses, a chunk at a time, on ``device``."""
    for start in range(0, len(labels), KEPT_CHUNK):
        rows = slice(start, start + KEPT_CHUNK)
        indices = torch.arange(start, start + len(labels[rows]), device=device)
        yield ResponseBatch(responses[rows].to(device), labels[rows].to(device), indices)


def gather_kept(evidence: Evidence, statistics: Iterable[Statistic], device: torch.device) -> None:
    """Add to ``evidence`` the statistics it lacks, from its kept responses, round by round."""
    for round_ in by_round(statistics):
        lacking = [statistic.twin() for statistic in round_ if statistic not in evidence.statistics]
        if not lacking:
            continue
        responses, labels = evidence.cached_responses()
        refuse_what_does_not_fit(lacking, evidence.classes, evidence.filters, device)
        for statistic in lacking:
            statistic.start(evidence.classes, evidence.filters, device)
            statistic.prepare(evidence.statistics)
        for batch in chunks(responses, labels, device):
            feed(lacking, batch)
        for statistic in lacking:
            statistic.to_cpu()
            evidence.statistics[statistic] = statistic


def feed(statistics: Collection[Statistic], batch: ResponseBatch) -> None:
    """Add a batch to all ``statistics``, which share what they derive of it."""
    by_image = [statistic for statistic in statistics if not statistic.by_filter]
    for block in batch.blocks() if by_image else ():
        for statistic in by_image:
            statistic.update(block)
    for statistic in statistics:
        if statistic.by_filter:
            statistic.update(batch)


def refuse_what_does_not_fit(
    statistics: Collection[Statistic], classes: int, filters: int, device: torch.device
) -> None:
    """Fail before the pass, not in the middle of it, where the statistics would not fit in memory."""
    wanted = sum(statistic.nbytes(classes, filters) for statistic in statistics)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if wanted > free:
        largest = max(statistics, key=lambda statistic: statistic.nbytes(classes, filters))
        raise ConfigError(
            f"The statistics for {classes} classes and {filters} filters take {wanted / 2**30:.1f} GiB, more than the "
            f"{free / 2**30:.1f} GiB free on {device}. The largest is {largest!r}: leave out what asks for it, or "
            "choose fewer strategies, k or layers."
        )


def count_classes(labels: Int64[Tensor, " n"], classes: int) -> Int64[Tensor, " c"]:
    """Images per class; an error for labels out of range."""
    check_range(labels, classes)
    counts = ClassCounts()
    counts.start(classes, 0, labels.device)
    counts.counts.index_add_(0, labels, torch.ones_like(labels))
    return counts.counts
