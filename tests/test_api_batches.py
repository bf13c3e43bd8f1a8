"""The Python API takes loaders of all sorts, and refuses batches and logits that would give a wrong figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import WeightedRandomSampler

import ddeep
from ddeep.errors import ConfigError, DataError, DdeepError
from ddeep.statistics.basic import Confusion, TopCounts
from tests.support.toys import Toy, loader, pictures, toy


def test_loaders_of_all_sorts() -> None:
    images, labels = pictures(40)
    expected = ddeep.gather(toy(), loader(), layer="relu", statistics=[TopCounts(2)])[TopCounts(2)].counts
    batches = [(images[i : i + 9], labels[i : i + 9]) for i in range(0, 40, 9)]
    as_list = ddeep.gather(toy(), batches, layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(as_list[TopCounts(2)].counts, expected)
    shuffled = ddeep.gather(toy(), loader(shuffle=True), layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(shuffled[TopCounts(2)].counts, expected)
    small = [(images[i : i + 9], labels[i : i + 9].to(torch.int32)) for i in range(0, 40, 9)]
    of_int32 = ddeep.gather(toy(), small, layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(of_int32[TopCounts(2)].counts, expected)
    dropped = ddeep.gather(toy(), loader(drop_last=True), layer="relu")
    assert int(dropped.class_counts.sum()) == 35
    assert dropped.responses is not None
    assert len(dropped.responses) == 35
    drawn = loader(sampler=WeightedRandomSampler([1.0] * 40, 100, replacement=True))
    more = ddeep.gather(toy(), drawn, layer="relu")
    assert int(more.class_counts.sum()) == 100
    assert more.responses is not None
    assert len(more.responses) == 100


class Announced:
    """Says it holds fewer images than it does."""

    dataset = [0] * 10

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([pictures(8), pictures(8)])


def test_batches_that_cannot_be_used_are_refused() -> None:
    cases: list[tuple[object, str]] = [
        ((pictures(8) for _ in range(2)), "reads the batches more than once"),
        ([], "The batches hold no images"),
        (Announced(), "more images than the 10 they announced"),
    ]
    for batches, problem in cases:
        with pytest.raises(DdeepError, match=problem):
            ddeep.select(toy(), batches, strategy="paper", k=2, layer="relu")  # type: ignore[arg-type]


def test_labels_that_would_give_a_wrong_figure_are_refused_everywhere() -> None:
    """Compared as they are they give 606, 100 or 2.5 % correct, say, without a word."""
    images, labels = pictures(8)
    model, good = toy(), [pictures(8)]
    selection = ddeep.select(model, good, strategy="paper", k=2)
    cases: list[tuple[object, str]] = [
        (labels[:, None], r"int64 \(8, 1\): give labels\[:, 0\]"),
        (nn.functional.one_hot(labels, 4), r"Labels of shape \(8, 4\)"),
        (labels.float(), r"not float32 \(8,\)"),
        (labels == 1, r"not bool \(8,\)"),
        (labels % 4 + 1, r"Labels run from 1 to 4, but the network has 4 outputs .*Take 1 from each"),
        (labels + 2, r"Labels run from .* to 5, but the network has 4 outputs .*Use weights or a model"),
        (labels[0], "not int64 .*as a DataLoader gives them"),
        (labels - 1, "Labels run from -1"),
        (labels[:7], "7 labels for a batch of 8 images"),
    ]
    for given, problem in cases:
        batches: Any = [(images, given)]
        for use in (
            lambda b: ddeep.evaluate(model, b),
            lambda b: ddeep.gather(model, b, layer="relu"),
            lambda b: ddeep.select(model, b, strategy="paper", k=2),
            lambda b: ddeep.refit(model, b, selection),
            lambda b: ddeep.measure(model, b, selection),
            lambda b: ddeep.measure(model, good, selection, metrics=["precision"], test_batches=b),
        ):
            with pytest.raises(DataError, match=problem):
                use(batches)


class Breaking(Toy):
    """Divides by what is zero for a dark image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (x.abs().sum((1, 2, 3)) / x.abs().sum((1, 2, 3)))[:, None]


@pytest.mark.parametrize("dark", [0, 30])
def test_logits_that_are_not_finite_are_no_class(dark: int) -> None:
    images, labels = pictures(40)
    images[dark] = 0
    batches = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)]
    torch.manual_seed(0)
    model = Breaking().eval()
    with pytest.raises(DataError, match="NaN or infinite logits"):
        ddeep.evaluate(model, batches)
    with pytest.raises(DataError, match="NaN or infinite logits"):
        ddeep.gather(model, batches, layer="relu", statistics=[Confusion()])


def test_what_is_no_table_of_logits_is_not_evaluated() -> None:
    class Maps(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)  # type: ignore[no-any-return]

    with pytest.raises(ConfigError, match=r"tensor of shape \(7, 6, 8, 8\) for 7 images, not logits"):
        ddeep.evaluate(Maps(), loader())


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(DataError, match="no images"):
        ddeep.evaluate(toy(), [])
