"""Every metric on responses that are hard to measure: a number that can be, or none. Absent classes change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from ddeep.evidence.context import Context
from ddeep.networks.head import Head
from ddeep.registry.specs import MetricSpec
from ddeep.selections.measure import SplitEvidence, measure, needed
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.metrics import ddeep_metrics
from tests.support.batches import batch_of, rows
from tests.support.evidence import evidence_of

CLASSES, FILTERS, IMAGES, GONE = 4, 7, 60, 2
FILTERS_OF = ((0, 3), (1, 2), (5, 4), (3, 6))
# Percent, differences of percent, shares, or information in nats.
LARGEST = {
    "essentiality": 100.0,
    "knockout": 100.0,
    "precision": 100.0,
    "coverage": 100.0,
    "pmi": 10.0,
    "twins": CLASSES * (CLASSES - 1) / 2,
}
SPECS = [spec for spec in ddeep_metrics() if not spec.reruns and spec.option != ""]
every_metric = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def random_batch() -> ResponseBatch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    return batch_of(torch.randn(IMAGES, FILTERS, generator=generator).relu(), labels, CLASSES)


def head_of(classes: int = CLASSES) -> Head:
    generator = torch.Generator().manual_seed(1)
    return Head(torch.randn(classes, FILTERS, generator=generator), torch.randn(classes, generator=generator))


def figure(spec: MetricSpec, batch: ResponseBatch, selection: Selection, head: Head) -> Any:
    """What the metric says of ``batch`` as both splits."""
    classes = len(head.weight)
    splits = [evidence_of(batch, needed([spec], split, [selection.size]), classes) for split in ("train", "test")]
    context = Context(torch.nn.ReLU(), head, seed=3)
    return measure([spec], SplitEvidence(*splits), selection, context)[spec.name.replace("-", "_")]


def numbers(found: Any) -> Iterator[float]:
    """All numbers in a metric's figure."""
    if isinstance(found, dict):
        found = [value for key, value in found.items() if key not in {"mass", "draws", "silent"}]
    if isinstance(found, list | tuple):
        for part in found:
            yield from numbers(part)
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield float(found)


def awkward(kind: str) -> ResponseBatch:
    batch = random_batch()
    if kind == "absent":
        return rows(batch, torch.nonzero(batch.labels != GONE)[:, 0])
    if kind == "single":
        return rows(batch, torch.nonzero(batch.labels == 1)[:, 0])
    if kind == "one each":
        return rows(batch, torch.arange(CLASSES))
    responses = batch.responses.clone()
    if kind == "dead":
        responses[:, 3] = 0
    elif kind == "constant":
        responses[:, 3] = 0.3
    elif kind == "silent":
        responses[batch.labels == GONE] = 0
    elif kind == "alike":
        responses[:] = 1.0
    return replace(batch, responses=responses)


@every_metric
@pytest.mark.parametrize("kind", ["absent", "single", "one each", "dead", "constant", "silent", "alike"])
@pytest.mark.parametrize("k", [2, FILTERS])
def test_a_figure_is_possible_or_none(spec: MetricSpec, kind: str, k: int) -> None:
    batch = awkward(kind)
    present = set(batch.labels.tolist())
    filters = [(row if k == 2 else tuple(range(FILTERS))) if c in present else () for c, row in enumerate(FILTERS_OF)]
    selection = Selection.of(filters, FILTERS, absent=sorted(set(range(CLASSES)) - present))
    found = list(numbers(figure(spec, batch, selection, head_of())))
    assert all(math.isfinite(number) for number in found)
    largest = LARGEST.get(spec.name, 1.0)
    assert all(-largest <= number <= largest + 1e-9 for number in found)


def without(found: Any, classes: int) -> Any:
    """A figure without the absent class, wherever there is a list over the classes."""
    if isinstance(found, dict):
        return {key: without(value, classes) for key, value in found.items()}
    if isinstance(found, list | tuple) and len(found) == classes:
        return [value for c, value in enumerate(found) if c != GONE]
    return found


def flat(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return [number for key in sorted(found) for number in flat(found[key])]
    if isinstance(found, list | tuple):
        return [number for value in found for number in flat(value)]
    return [found]


@pytest.mark.parametrize(
    "spec",
    # Where all outputs compete, or draws depend on their number, a class less is another question.
    [spec for spec in SPECS if spec.name not in {"knockout", "essentiality"}],
    ids=lambda spec: spec.name,
)
def test_an_absent_class_is_as_if_there_were_none(spec: MetricSpec) -> None:
    batch = awkward("absent")
    kept = [c for c in range(CLASSES) if c != GONE]
    with_it = figure(
        spec,
        batch,
        Selection.of([row if c != GONE else () for c, row in enumerate(FILTERS_OF)], FILTERS, absent=[GONE]),
        head_of(),
    )
    head = head_of()
    fewer = replace(batch, labels=torch.tensor([kept.index(label) for label in batch.labels.tolist()]))
    never = figure(
        spec, fewer, Selection.of([FILTERS_OF[c] for c in kept], FILTERS), Head(head.weight[kept], head.bias[kept])
    )
    assert flat(without(with_it, CLASSES)) == pytest.approx(flat(never))
