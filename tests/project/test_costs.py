"""The table of what every step takes, held to what it takes at three sizes: multiplications, and bytes at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ddeep.heads._objective import HeadProblems
from ddeep.heads.ablation import essentiality_all, knockout
from ddeep.heads.accuracy import predict_all, sparse_confusion
from ddeep.heads.null import null_right
from ddeep.networks.head import Head
from ddeep_plugins_builtin.metrics.pmi import sum_information
from tests.support.costs import Costs
from tests.support.paths import ROOT

DRAWS, HEADS = 2, 3


@dataclass(frozen=True)
class Size:
    """Made responses of N images, C classes and K filters, ``m`` of them used by a class; each class has an image."""

    N: int
    C: int
    K: int
    m: int = 5

    @property
    def narrow(self) -> bool:
        return self.C * self.K >= 2**15 and 4 * (self.m + 1) <= self.K

    def names(self) -> dict[str, int]:
        """What the formulas speak of."""
        m = self.m if self.narrow else self.K
        return {"N": self.N, "n": self.N, "C": self.C, "K": self.K, "m": m, "k": self.m, "h": HEADS, "d": DRAWS}

    def made(self) -> tuple[Tensor, Tensor, Head, Tensor]:
        random = torch.Generator().manual_seed(0)
        labels = torch.arange(self.N) % self.C
        responses = torch.rand(self.C, self.K, generator=random)[labels]
        responses += 0.1 * torch.rand(self.N, self.K, generator=random)
        weight = 0.1 * torch.randn(self.C, self.K, generator=random)
        masks = torch.rand(HEADS, self.C, self.K, generator=random).argsort(2) < self.m
        return responses, labels, Head(weight, torch.zeros(self.C)), masks


# Twice the images, classes and filters each time; the heads of the last are narrow.
SIZES = (Size(192, 32, 64), Size(384, 64, 128), Size(768, 128, 256))


def _logits(size: Size) -> Callable[[], object]:
    responses, _, head, masks = size.made()
    heads = [Head(head.weight * mask, head.bias) for mask in masks]
    return lambda: predict_all(responses, heads)


def _step(size: Size) -> Callable[[], object]:
    problems, packed, which = _problem(size)
    return lambda: problems.gradient(packed, which)


def _curvature(size: Size) -> Callable[[], object]:
    problems, packed, which = _problem(size)
    return lambda: problems.curvature(packed, which)


def _problem(size: Size) -> tuple[HeadProblems, Tensor, Tensor]:
    responses, labels, head, masks = size.made()
    problems = HeadProblems(responses, labels, *head, masks[:1], 1e-4)
    return problems, problems.pack([head]), torch.zeros(1, dtype=torch.int64)


def _null(size: Size) -> Callable[[], object]:
    responses, labels, head, _ = size.made()
    random = torch.Generator().manual_seed(0)
    return lambda: null_right(responses, labels, head, [size.m] * size.C, None, DRAWS, random)


def _essentiality(size: Size) -> Callable[[], object]:
    responses, labels, head, masks = size.made()
    return lambda: essentiality_all(responses, labels, *head, masks, draws=DRAWS)


def _knockout(size: Size) -> Callable[[], object]:
    responses, labels, head, _ = size.made()
    return lambda: knockout(responses, labels, *head)


def _pairs(size: Size) -> Callable[[], object]:
    masks = size.made()[3]
    return lambda: sum_information(masks[0])


def _confusion(size: Size) -> Callable[[], object]:
    labels = size.made()[1]
    return lambda: sparse_confusion(labels, labels.flip(0), size.C)


STEPS = {
    "logits and accuracy": _logits,
    "a step of a refit": _step,
    "the curvature": _curvature,
    "the random null": _null,
    "essentiality": _essentiality,
    "knockout": _knockout,
    "pairs of classes": _pairs,
    "confusion": _confusion,
}


def stated() -> Iterator[tuple[str, str, str]]:
    """Of each step the formulas of its multiplications and bytes, as docs/cost.md has them."""
    text = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8").partition("\n## After the pass\n")[2]
    for line in text.splitlines():
        cells = line.strip("| ").split(" | ")
        if line.startswith("| ") and len(cells) == 3 and re.search(r"`.*`", cells[1]):
            yield cells[0], cells[1].split("`")[1], cells[2].split("`")[1]


def test_the_table_has_every_step_and_no_other() -> None:
    rows = [name for name, *_ in stated()]
    assert [next((step for step in STEPS if name.startswith(step)), name) for name in rows] == list(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_what_the_table_says(name: str) -> None:
    operations, most = next((o, b) for step, o, b in stated() if step.startswith(name))
    for size in SIZES:
        run = STEPS[name](size)
        with Costs() as costs:
            run()
        # A bias is a column more in some products, an addition in others.
        assert costs.products == pytest.approx(eval(operations, size.names() | {"min": min}), rel=0.02), size
        allowed = eval(most, size.names() | {"min": min, "max": max})
        assert costs.peak <= allowed, (size, costs.peak, allowed)
        assert allowed <= 4 * costs.peak + 2**20, (size, costs.peak, allowed)  # or the formula would say nothing
