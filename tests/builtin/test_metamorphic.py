"""What must not change, or change along: every installed strategy and metric, on data that is altered in known ways.

Order of images, batch size and names of classes are promises of every plugin (``ddeep.testing``, run by
``tests/contract``); here are images given twice, filters in another order, and responses in another unit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddeep.registry.registry import registry
from ddeep.registry.specs import MetricSpec, StrategySpec, resolve
from ddeep.selections.measure import SplitEvidence
from ddeep.selections.measure import needed as needed_by_metric
from ddeep.selections.select import choose, needed
from ddeep.selections.selection import Selection
from ddeep.testing.toys import CLASSES, FILTERS, Toy, make_toy
from ddeep_plugins_builtin.metrics import ddeep_metrics

ORDER = [4, 0, 5, 2, 1, 3]  # where filter j comes from
K = 3
UNIT = 4.0  # a power of two: responses are scaled without rounding

STRATEGIES = [spec for spec in registry().strategies.values() if not spec.stochastic]
METRICS = [spec for spec in registry().metrics.values() if not spec.stochastic]
every_strategy = pytest.mark.parametrize("spec", STRATEGIES, ids=lambda spec: spec.name)
every_metric = pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)

BUILT_IN = [spec for spec in ddeep_metrics() if not spec.stochastic]  # a stranger's may depend on the unit
# What depends on the unit of the responses, and why. Everything else must not.
OF_THE_UNIT = {
    "knockout": "the bias of the head is not scaled along",
}


def twice(toy: Toy) -> Toy:
    """Every image given twice."""
    return Toy(toy.module, torch.cat([toy.images, toy.images]), torch.cat([toy.labels, toy.labels]))


def rebuilt(toy: Toy, order: list[int], unit: float = 1.0) -> Toy:
    """The same network with its filters in another order, and their responses times ``unit``."""
    body, head = toy.module.get_submodule("body"), toy.module.get_submodule("head")
    assert isinstance(body, nn.Sequential)
    assert isinstance(body[0], nn.Conv2d)
    assert isinstance(head, nn.Linear)
    assert body[0].bias is not None
    convolution, final = nn.Conv2d(3, FILTERS, 3), nn.Linear(FILTERS, head.out_features)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.copy_(unit * body[0].weight[order])
        convolution.bias.copy_(unit * body[0].bias[order])
        final.weight.copy_(head.weight[:, order])
        final.bias.copy_(head.bias)
    norm = nn.BatchNorm2d(FILTERS)  # fresh, as the toy's: it scales all filters alike
    parts = {
        "body": nn.Sequential(convolution, norm, nn.ReLU()),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": final,
    }
    return Toy(nn.Sequential(OrderedDict(parts)).eval(), toy.images, toy.labels)


def pairs(selection: Selection, names: list[int]) -> list[list[tuple[float, int]]]:
    """Each class's scores and filters, filter j being called ``names[j]``; of equals at the end only the score.

    Equals go by the smaller index, which is not the same filter in another order.
    """
    found = []
    for filters, scores in zip(selection.filters, selection.scores, strict=True):
        rounded = [float(f"{score:.5g}") for score in scores]
        row = [(s, -1 if s == rounded[-1] else names[j]) for s, j in zip(rounded, filters, strict=True)]
        found.append(sorted(row))
    return found


def select(spec: StrategySpec, toy: Toy) -> Selection:
    return choose(spec, toy.evidence(needed(spec, [K])), K, toy.context())


@dataclass(frozen=True)
class Pair:
    """Both splits."""

    train: Toy
    test: Toy

    def measure(self, spec: MetricSpec, selection: Selection) -> Any:
        evidence = SplitEvidence(
            self.train.evidence(needed_by_metric([spec], "train")), self.test.evidence(needed_by_metric([spec], "test"))
        )
        return resolve(spec.measure)(evidence, selection, self.train.context(self.test))


def toys() -> Pair:
    train = make_toy()
    return Pair(train, Toy(train.module, make_toy(seed=1).images, train.labels))


def selection_of(order: list[int]) -> Selection:
    """Two or three filters for each class, those that ``order`` brings to other places."""
    rows = [[c % FILTERS, (c + 2) % FILTERS] + [5] * (c == 1) for c in range(CLASSES)]
    return Selection.of([[order.index(j) for j in row] for row in rows], FILTERS)


def numbers(figure: Any) -> Iterator[float]:
    """All numbers in a figure, in order."""
    values = figure.values() if isinstance(figure, dict) else figure if isinstance(figure, list | tuple) else None
    if values is not None:
        for value in values:
            yield from numbers(value)
    elif isinstance(figure, int | float):
        yield float(figure)


def alike(one: Any, other: Any, tolerance: float) -> bool:
    first, second = list(numbers(one)), list(numbers(other))
    return len(first) == len(second) and all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in zip(first, second, strict=True)
    )


def test_the_alterations_are_what_they_say() -> None:
    toy = make_toy()
    plain, permuted, scaled = toy.evidence([]), rebuilt(toy, ORDER).evidence([]), rebuilt(toy, list(range(6)), UNIT)
    assert isinstance(plain.responses, Tensor)
    assert isinstance(permuted.responses, Tensor)
    torch.testing.assert_close(permuted.responses, plain.responses[:, ORDER], rtol=1e-5, atol=1e-6)
    found = scaled.evidence([]).responses
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, UNIT * plain.responses, rtol=1e-6, atol=0)
    assert OF_THE_UNIT.keys() <= registry().metrics.keys()


@every_strategy
def test_images_given_twice_select_the_same(spec: StrategySpec) -> None:
    toy = make_toy()
    assert select(spec, twice(toy)).filters == select(spec, toy).filters


@every_strategy
def test_filters_in_another_order_are_selected_all_the_same(spec: StrategySpec) -> None:
    toy = make_toy()
    found, expected = select(spec, rebuilt(toy, ORDER)), select(spec, toy)
    if spec.learned:  # a solver stops near its solution: the same filters, other digits in their scores
        assert [{ORDER[j] for j in row} for row in found.filters] == [set(row) for row in expected.filters]
    else:
        assert pairs(found, ORDER) == pairs(expected, list(range(FILTERS)))


@pytest.mark.parametrize("spec", [s for s in STRATEGIES if not s.learned], ids=lambda spec: spec.name)
def test_responses_in_another_unit_select_the_same(spec: StrategySpec) -> None:
    """Not those that are learned under a penalty on the weights, which has a unit of its own."""
    toy = make_toy()
    assert select(spec, rebuilt(toy, list(range(FILTERS)), UNIT)).filters == select(spec, toy).filters


@every_metric
def test_images_given_twice_measure_the_same(spec: MetricSpec) -> None:
    pair, selection = toys(), selection_of(list(range(FILTERS)))
    doubled = Pair(twice(pair.train), twice(pair.test)).measure(spec, selection)
    assert alike(doubled, pair.measure(spec, selection), 1e-9)


@every_metric
def test_filters_in_another_order_measure_the_same(spec: MetricSpec) -> None:
    pair = toys()
    plain = pair.measure(spec, selection_of(list(range(FILTERS))))
    other = Pair(rebuilt(pair.train, ORDER), rebuilt(pair.test, ORDER)).measure(spec, selection_of(ORDER))
    assert alike(sorted(numbers(other)), sorted(numbers(plain)), 1e-6)


@pytest.mark.parametrize("spec", [s for s in BUILT_IN if s.name not in OF_THE_UNIT], ids=lambda spec: spec.name)
def test_responses_in_another_unit_measure_the_same(spec: MetricSpec) -> None:
    pair, order, selection = toys(), list(range(FILTERS)), selection_of(list(range(FILTERS)))
    scaled = Pair(rebuilt(pair.train, order, UNIT), rebuilt(pair.test, order, UNIT)).measure(spec, selection)
    assert alike(scaled, pair.measure(spec, selection), 1e-5)
