"""The checks of statistics can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddeep.statistics.basic import ClassSums
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.statistic import Statistic
from tests.contract.broken import broken
from tests.contract.good import GOOD_METRIC, GOOD_STRATEGY


class Unequal(ClassSums):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Averaging(ClassSums):
    def update(self, batch: ResponseBatch) -> None:
        super().update(batch)
        self.sums /= len(batch.labels)


class Larger(ClassSums):
    def update(self, batch: ResponseBatch) -> None:
        super().update(batch)
        self.sums = torch.cat([self.sums, self.sums])


class Forgetful(ClassSums):
    def load_state(self, state: dict[str, Tensor]) -> None:
        pass


def centred(maps: Tensor) -> Tensor:
    return maps.mean(2) - maps.mean()  # of the whole batch


def first_image(maps: Tensor) -> Tensor:
    return maps[0].mean(1)


class LooksAtItsBatch(ClassSums):
    extras = frozenset({centred})


class LooksAtOneImage(ClassSums):
    extras = frozenset({first_image})


@pytest.mark.parametrize(
    ("statistic", "fix"),
    [
        (Unequal, "unsafe_hash=True"),
        (Averaging, "only add"),
        (Larger, "allocate all that"),
        (Forgetful, "accumulator() field"),
        (LooksAtItsBatch, "made of its own maps alone"),
        (LooksAtOneImage, "one row for each image"),
    ],
)
def test_broken_statistics(statistic: type[Statistic], fix: str, tmp_path: Path) -> None:
    merge = "its statistics merge, save and plan their size"
    spec = replace(GOOD_STRATEGY, needs=lambda _ks: [statistic()])
    assert fix in broken("strategies", spec, tmp_path, merge)[merge]
    metric = replace(GOOD_METRIC, needs=lambda _split: [statistic()])
    assert fix in broken("metrics", metric, tmp_path, merge)[merge]
