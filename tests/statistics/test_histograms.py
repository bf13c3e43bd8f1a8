"""Binned statistics: against counting by hand, and the same for any split, order and merge of the images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from ddeep.evidence.evidence import by_round
from ddeep.statistics.basic import ClassSums, Extremes, MassHistogram, MassTopCounts
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.histograms import ClassHistogram, Histogram, RankSums, bin_responses
from ddeep.statistics.statistic import Statistic
from tests.support.batches import batches, rows
from tests.support.effort import examples
from tests.support.evidence import evidence_of

CLASSES = 4
every_statistic = pytest.mark.parametrize("statistic", [Histogram(8), ClassHistogram(5), RankSums(16)], ids=repr)


def by_hand(value: float, low: float, high: float, bins: int) -> int:
    """0 for the smallest value; the others share the range above it."""
    if value == low:
        return 0
    return min(bins - 1, 1 + int((value - low) / ((high - low) / (bins - 1))))


@examples(50)
@given(batch=batches(classes=CLASSES), bins=st.integers(2, 40))
def test_counts(batch: ResponseBatch, bins: int) -> None:
    table, labels = batch.responses.tolist(), batch.labels.tolist()
    evidence = evidence_of(batch, [Histogram(bins), ClassHistogram(bins)], CLASSES)
    expected = torch.zeros(CLASSES, len(table[0]), bins, dtype=torch.int64)
    for j, column in enumerate(zip(*table, strict=True)):
        for value, label in zip(column, labels, strict=True):
            expected[label, j, by_hand(value, min(column), max(column), bins)] += 1
    assert torch.equal(evidence[ClassHistogram(bins)].counts, expected)
    assert torch.equal(evidence[Histogram(bins)].counts, expected.sum(0))


@examples(30)
@given(batch=batches(classes=CLASSES), bins=st.integers(2, 40))
def test_rank_sums_are_those_of_the_bins(batch: ResponseBatch, bins: int) -> None:
    evidence = evidence_of(batch, [RankSums(bins)], CLASSES)
    extremes = evidence[Extremes()]
    binned = bin_responses(batch.responses.double(), extremes.low.double(), extremes.high.double(), bins)
    for c in range(CLASSES):
        for j in range(evidence.filters):
            mine = binned[batch.labels == c, j].tolist()
            lower = sum((binned[:, j] < b).sum().item() for b in mine)
            same = sum((binned[:, j] == b).sum().item() for b in mine)
            others = sum((binned[:, j] == b).sum().item() - 1 for b in mine if b > 0)
            assert evidence[RankSums(bins)].doubled[c, j] == 2 * lower + same
            assert evidence[RankSums(bins)].shared[c, j] == others


@every_statistic
@examples(15)
@given(batch=batches(classes=CLASSES), data=st.data())
def test_any_split_order_and_merge_is_one_pass(statistic: Statistic, batch: ResponseBatch, data: st.DataObject) -> None:
    images = len(batch.labels)
    order = torch.tensor(data.draw(st.permutations(range(images))))
    cuts = sorted(data.draw(st.lists(st.integers(0, images), max_size=4)))
    pieces = [rows(batch, part) for part in torch.tensor_split(order, cuts) if len(part)]
    found = evidence_of(batch, [statistic], CLASSES, [pieces[::2], pieces[1::2]] if len(pieces) > 1 else [pieces])
    expected = evidence_of(batch, [statistic], CLASSES)[statistic].state()
    for name, tensor in found[statistic].state().items():
        assert torch.equal(tensor, expected[name])


@every_statistic
@examples(10)
@given(batch=batches(classes=CLASSES))
def test_it_goes_on_from_what_it_has_saved(statistic: Statistic, batch: ResponseBatch) -> None:
    """As a pass that was killed does, from a file."""
    whole = evidence_of(batch, [statistic], CLASSES)
    half = len(batch.labels) // 2
    first, second = (rows(batch, part) for part in (torch.arange(half), torch.arange(half, len(batch.labels))))
    before, after = statistic.twin(), statistic.twin()
    for twin in (before, after):
        twin.start(CLASSES, whole.filters, "cpu")
        twin.prepare(whole.statistics)
    before.update(first)
    after.load_state(load(save(before.state())))
    after.update(second)
    assert all(torch.equal(tensor, whole[statistic].state()[name]) for name, tensor in after.state().items())


@every_statistic
def test_what_it_plans_is_what_its_accumulators_take(statistic: Statistic) -> None:
    statistic.start(7, 11, "cpu")
    assert statistic.nbytes(7, 11) == sum(tensor.nbytes for tensor in statistic.state().values())


def test_a_thousand_classes_fit() -> None:
    assert RankSums(4096).nbytes(1000, 2048) + Histogram(4096).nbytes(1000, 2048) < 100 * 2**20
    assert ClassHistogram(16).nbytes(1000, 2048) < 256 * 2**20


def test_rounds_follow_what_statistics_wait_for() -> None:
    first, second, third = by_round([RankSums(4), MassTopCounts(0.5), ClassSums()])
    assert set(first) == {Extremes(), MassHistogram(0.5), ClassSums()}
    assert set(second) == {Histogram(4), MassTopCounts(0.5)}
    assert third == [RankSums(4)]
    assert by_round([]) == [[]]
