"""The accumulators: against slow references, and the same for any split, order and merge of the images."""

from __future__ import annotations

import math
from copy import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.statistics import basic, gram
from ddeep.statistics.basic import (
    ClassCounts,
    ClassSquares,
    ClassSums,
    Confusion,
    ConfusionPairs,
    Correct,
    Extremes,
    GradientSums,
    MagnitudeSums,
    MassHistogram,
    MassTopCounts,
    PeakSums,
    TopCounts,
    ZeroSums,
    peaks,
)
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.gram import Gram
from ddeep.statistics.statistic import Statistic
from tests.reference import counts as reference_counts
from tests.reference import leading_mass
from tests.reference.psi import psi
from tests.support.batches import batch_of, batches, rows
from tests.support.effort import examples

CLASSES = 4
EXAMPLES: list[Statistic] = [
    ClassCounts(),
    ClassSums(),
    ClassSquares(),
    MagnitudeSums(),
    Extremes(),
    TopCounts(1),
    TopCounts(3),
    MassHistogram(0.5),
    MassHistogram(0.9),
    MassTopCounts(0.3),
    MassTopCounts(0.5),
    Confusion(),
    Confusion(among=(0, 2)),
    ConfusionPairs(),
    Correct(),
    Correct(among=(0, 2)),
    ZeroSums(),
    GradientSums(),
    PeakSums(),
    Gram(),
]
every_statistic = pytest.mark.parametrize("statistic", EXAMPLES, ids=repr)


def gathered(wanted: Statistic, parts: list[ResponseBatch], complete: dict[Statistic, Statistic]) -> Statistic:
    """A fresh copy of ``wanted`` that has seen ``parts``."""
    fresh = copy(wanted)
    fresh.start(CLASSES, parts[0].responses.shape[1], "cpu")
    fresh.prepare(complete)
    for part in parts:
        fresh.update(part)
    return fresh


def first_round(wanted: Statistic, batch: ResponseBatch) -> dict[Statistic, Statistic]:
    """What a second-round statistic waits for, gathered over the whole batch."""
    return {needed: gathered(needed, [batch], {}) for needed in wanted.after()}


def assert_same(one: Statistic, other: Statistic, scale: float = 1.0) -> None:
    """Counts and extremes exactly; sums to 1e-9 of the magnitudes that went into them."""
    for name, mine in one.state().items():
        theirs = other.state()[name]
        if mine.dtype == torch.float64:
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * scale)
        else:
            assert torch.equal(mine, theirs), name


def test_every_statistic_of_the_engine_is_tested_here() -> None:
    defined = {
        kind
        for module in (basic, gram)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Statistic) and kind.__module__ == module.__name__
    }
    assert {type(example) for example in EXAMPLES} == defined


@every_statistic
@examples(15)
@given(batch=batches(), data=st.data())
def test_any_split_order_and_merge_is_one_pass(statistic: Statistic, batch: ResponseBatch, data: st.DataObject) -> None:
    images = len(batch.labels)
    complete = first_round(statistic, batch)
    order = torch.tensor(data.draw(st.permutations(range(images))))
    cuts = sorted(data.draw(st.lists(st.integers(0, images), max_size=4)))
    parts = [rows(batch, part) for part in torch.tensor_split(order, cuts) if len(part)]
    workers = data.draw(st.lists(st.integers(0, 2), min_size=len(parts), max_size=len(parts)))
    merged = copy(statistic)
    merged.start(CLASSES, batch.responses.shape[1], "cpu")
    for worker in range(3):
        mine = [part for part, who in zip(parts, workers, strict=True) if who == worker]
        if mine:
            merged.merge(gathered(statistic, mine, complete))
    scale = float(batch.responses.double().square().sum()) + images * 10
    assert_same(merged, gathered(statistic, [batch], complete), scale)


@every_statistic
@examples(5)
@given(batch=batches())
def test_state_makes_a_round_trip_and_is_not_shared(statistic: Statistic, batch: ResponseBatch) -> None:
    complete = first_round(statistic, batch)
    first = gathered(statistic, [batch], complete)
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    second = copy(statistic)
    second.start(CLASSES, batch.responses.shape[1], "cpu")
    second.prepare(complete)
    second.load_state(first.state())
    assert_same(second, first)
    second.update(batch)
    for name, tensor in first.state().items():
        assert torch.equal(tensor, saved[name]), "updating one statistic changed another"
    assert_same(second, gathered(statistic, [batch, batch], complete))


@every_statistic
@given(classes=st.integers(1, 50), filters=st.integers(1, 300))
@examples(5)
def test_what_it_plans_is_what_its_accumulators_take(statistic: Statistic, classes: int, filters: int) -> None:
    classes = max(classes, 3)  # Confusion(among=(0, 2)) names class 2
    real = copy(statistic)
    real.start(classes, filters, "cpu")
    assert sum(tensor.nbytes for tensor in real.state().values()) == statistic.nbytes(classes, filters)


@every_statistic
def test_value_equality_ignores_what_was_gathered(statistic: Statistic) -> None:
    batch = batch_of(torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0]), CLASSES)
    used = gathered(statistic, [batch], first_round(statistic, batch))
    assert used == statistic
    assert hash(used) == hash(statistic)
    assert len({used, copy(statistic)}) == 1
    assert sum(used == other for other in EXAMPLES) == 1


@given(batch=batches())
@examples(15)
def test_sums_and_extremes(batch: ResponseBatch) -> None:
    filters = batch.responses.shape[1]
    table = batch.responses.tolist()
    for c in range(CLASSES):
        mine = [row for row, label in zip(table, batch.labels.tolist(), strict=True) if label == c]
        for j in range(filters):
            column = [row[j] for row in mine]
            for kind, expected in (
                (ClassSums, math.fsum(column)),
                (ClassSquares, math.fsum(value * value for value in column)),
                (MagnitudeSums, math.fsum(map(abs, column))),
            ):
                found = gathered(kind(), [batch], {}).state()["sums"][c, j].item()
                assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 * math.fsum(map(abs, column)))
        assert gathered(ClassCounts(), [batch], {}).state()["counts"][c] == len(mine)
    extremes = gathered(Extremes(), [batch], {}).state()
    for j in range(filters):
        assert extremes["low"][j] == min(row[j] for row in table)
        assert extremes["high"][j] == max(row[j] for row in table)


@given(batch=batches(), k=st.integers(1, 6))
@examples(15)
def test_top_counts(batch: ResponseBatch, k: int) -> None:
    found = gathered(TopCounts(k), [batch], {}).state()["counts"]
    assert found.tolist() == reference_counts.top_counts(batch.responses.tolist(), batch.labels.tolist(), CLASSES, k)


@given(batch=batches(), q=st.sampled_from([0.1, 0.3, 0.5, 0.75, 0.9, 0.999]))
@examples(25)
def test_mass_statistics(batch: ResponseBatch, q: float) -> None:
    table, labels = batch.responses.tolist(), batch.labels.tolist()
    histogram = gathered(MassHistogram(q), [batch], {})
    assert isinstance(histogram, MassHistogram)
    for c in range(CLASSES):
        counts = leading_mass.of_class(table, labels, c, q)
        assert histogram.counts[c].tolist() == [counts.count(m) for m in range(len(table[0]) + 1)]
        silent = sum(1 for row, label in zip(table, labels, strict=True) if label == c and not any(row))
        assert histogram.silent[c] == silent
    expected = reference_counts.mass_top_counts(table, labels, CLASSES, q)
    complete: dict[Statistic, Statistic] = {histogram: histogram}
    assert gathered(MassTopCounts(q), [batch], complete).state()["counts"].tolist() == expected


@given(batch=batches(), q=st.sampled_from([0.3, 0.5, 0.9]))
@examples(15)
def test_medians_and_means_of_the_histogram_give_psi(batch: ResponseBatch, q: float) -> None:
    filters = batch.responses.shape[1]
    histogram = gathered(MassHistogram(q), [batch], {})
    assert isinstance(histogram, MassHistogram)
    for variant, middles in (("median", histogram.medians()), ("mean", histogram.means())):
        expected = psi(batch.responses.tolist(), batch.labels.tolist(), CLASSES, q, variant)
        for value, wanted in zip(((filters - middles) / filters).tolist(), expected, strict=True):
            assert math.isnan(value) if wanted is None else value == pytest.approx(wanted, abs=1e-12)


@given(batch=batches())
@examples(10)
def test_confusion_zeros_and_gradients(batch: ResponseBatch) -> None:
    assert batch.logits is not None
    assert batch.zeros is not None
    assert batch.gradient_activation is not None
    for among in (None, (0, 2)):
        expected = [[0] * CLASSES for _ in range(CLASSES)]
        for logits, label in zip(batch.logits.tolist(), batch.labels.tolist(), strict=True):
            allowed = range(CLASSES) if among is None else among
            expected[label][max(allowed, key=lambda c: (logits[c], -c))] += 1
        assert gathered(Confusion(among), [batch], {}).state()["counts"].tolist() == expected
        right = [expected[c][c] for c in range(CLASSES)]
        assert gathered(Correct(among), [batch], {}).state()["counts"].tolist() == right
        pairs = gathered(ConfusionPairs(), [batch], {})
        assert isinstance(pairs, ConfusionPairs)
        if among is None:
            assert pairs.table(CLASSES).to_dense().tolist() == expected
            assert len(pairs.counts) == sum(count > 0 for row in expected for count in row)
    assert_sums(gathered(ZeroSums(), [batch], {}).state()["sums"], batch.zeros, batch.labels)
    assert_sums(gathered(PeakSums(), [batch], {}).state()["sums"], batch.looked[peaks], batch.labels)
    gradients = gathered(GradientSums(), [batch], {}).state()
    g = batch.gradient_activation.double()
    assert_sums(gradients["signed"], g, batch.labels)
    assert_sums(gradients["absolute"], g.abs(), batch.labels)
    assert_sums(gradients["squared"], g * g, batch.labels)


def assert_sums(found: Tensor, values: Tensor, labels: Tensor) -> None:
    for c in range(CLASSES):
        torch.testing.assert_close(found[c], values[labels == c].double().sum(0), rtol=1e-12, atol=1e-12)


@given(batch=batches())
@examples(10)
def test_the_gram_matrix(batch: ResponseBatch) -> None:
    columns = batch.responses.double().T.tolist()
    found = gathered(Gram(), [batch], {}).state()["products"]
    for i, one in enumerate(columns):
        for j, other in enumerate(columns):
            products = [a * b for a, b in zip(one, other, strict=True)]
            assert found[i, j].item() == pytest.approx(math.fsum(products), abs=1e-12 * math.fsum(map(abs, products)))
