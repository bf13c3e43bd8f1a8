"""Statistics alone, without a network: every first and later round that ``ddeep compare`` needs, in images a second.

At C = 1,000 and K = 2,048, as for a ResNet50 on ImageNet: the needs of all strategies that take neither gradients nor
learning, and of the metrics that every comparison shows, over random responses that a ReLU could have given. Images
come class by class, as from class folders, and once more in random order. Each statistic by itself, with all that it
waits for, says where the time goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddeep.evidence.collector import LayerCollector
from ddeep.evidence.evidence import Evidence, by_round, gather_kept
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.selections.measure import always_measured
from ddeep.selections.measure import needed as needed_by_metrics
from ddeep.selections.select import needed
from ddeep.statistics.basic import ClassCounts
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.statistic import Statistic

from ._common import Report, Settings, alternate, clocked

CLASSES, FILTERS, BATCH, K = 1000, 2048, 256, 64
GOAL = 10_000  # images a second on 2 cores
CPU = torch.device("cpu")


class Responses(NamedTuple):
    """What a network could have given."""

    responses: Tensor
    labels: Tensor
    zeros: Tensor


def measure(settings: Settings) -> Report:
    """Images a second of everything together, and of every statistic with all that it waits for."""
    classes, filters, images = (CLASSES, FILTERS, 20_480) if not settings.quick else (10, 64, 1024)
    given = invented(images, classes, filters)
    everything = [one for one in wanted(K if not settings.quick else 5) if not looks(one)]
    report = Report({"classes": classes, "filters": filters, "images": images, "k": K})
    report.setting["statistics"] = [repr(s) for part in by_round([ClassCounts(), *everything]) for s in part]
    report.setting["bytes"] = sum(
        statistic.nbytes(classes, filters) for part in by_round([ClassCounts(), *everything]) for statistic in part
    )
    shuffled = given._replace(labels=given.labels[torch.randperm(images, generator=torch.Generator().manual_seed(1))])
    sides = {
        "all": clocked(lambda: gather(given, everything, classes)),
        "all, random order": clocked(lambda: gather(shuffled, everything, classes)),
    }
    report.costs = alternate(sides, settings.sized(5, 1))
    each = {repr(one): clocked(lambda one=one: gather(given, [one], classes)) for one in everything}
    report.costs |= alternate(each, settings.sized(3, 1))
    report.add("images a second, everything", images / report.seconds("all"), at_least=GOAL)
    report.add("images a second, everything, random order", images / report.seconds("all, random order"))
    for name in each:
        report.add(f"images a second, {name}", images / report.seconds(name))
    return report


def wanted(k: int) -> list[Statistic]:
    """All that ``ddeep compare`` gathers for strategies without gradients or learning."""
    specs = [spec for spec in registry().strategies.values() if not spec.gradients and not spec.learned]
    statistics = [statistic for spec in specs for statistic in needed(spec, [k])]
    return list(dict.fromkeys([*statistics, *needed_by_metrics(always_measured(), "train")]))


def looks(statistic: Statistic) -> bool:
    """Whether it asks for the maps, which invented responses have none of."""
    return any(callable(extra) for extra in statistic.extras)


def invented(images: int, classes: int, filters: int) -> Responses:
    """Responses with a quarter of zeros, class by class."""
    source = torch.Generator().manual_seed(0)
    responses = torch.randn(images, filters, generator=source).add_(0.6745).relu_()
    labels = torch.arange(images) * classes // images
    return Responses(responses, labels, torch.rand(images, filters, generator=source))


def gather(given: Responses, statistics: Sequence[Statistic], classes: int) -> Evidence:
    """The first round batch by batch, as a pass hands them over; later rounds from the responses."""
    filters = given.responses.shape[1]
    first = by_round([ClassCounts(), *statistics])[0]
    gathering = LayerCollector(first, classes, filters, CPU, None)
    for batch in _batches(given):
        gathering.add(batch)
    evidence = gathering.finish(Layer("invented"), "train")
    evidence.responses, evidence.labels = given.responses, given.labels
    gather_kept(evidence, statistics, CPU)
    return evidence


def _batches(given: Responses) -> Iterator[ResponseBatch]:
    for start in range(0, len(given.labels), BATCH):
        rows = slice(start, start + BATCH)
        indices = torch.arange(start, start + len(given.labels[rows]))
        yield ResponseBatch(given.responses[rows], given.labels[rows], indices, given.zeros[rows])
