"""The checks of metrics can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ddeep.statistics.basic import ClassSums, Extremes
from tests.contract.broken import broken
from tests.contract.good import GOOD_METRIC


def largest_response(evidence: Any, *_: Any) -> float:
    return float(evidence.train[Extremes()].high.max())


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"measure": lambda *_: torch.ones(2)}, "its figures are JSON, absent classes or not", "tolist()"),
        ({"measure": lambda *_: float("nan")}, "its figures are JSON, absent classes or not", "None for what"),
        ({"measure": lambda *_: float(torch.rand(()))}, "it is deterministic", "context.generator()"),
        (
            {"measure": lambda e, *_: float(e.train.responses[0].sum()), "responses": ("train",)},
            "batch size and order of the images do not matter",
            "stochastic",
        ),
        (
            {"measure": lambda e, *_: float(e.train[ClassSums()].sums[0].sum())},
            "renaming classes keeps its figures",
            "all classes alike",
        ),
        ({"measure": lambda _e, s, _c: len(s.filters) if s else 0}, "it needs no more than its flags say", "selection"),
        (
            {"measure": lambda _e, _s, c: float(c.needed_head().weight.sum())},
            "it needs no more than its flags say",
            "head_only=True",
        ),
        (
            {"measure": lambda e, *_: float(e.train.responses.mul_(2).sum()), "responses": ("train",)},
            "network and evidence stay as they were",
            "copies",
        ),
        (
            {"measure": lambda e, *_: float(e.train.responses.sum())},
            "it needs no more than its flags say",
            'responses=("train",)',
        ),
        (
            {"measure": lambda e, *_: float(e.of_test().responses.sum())},
            "it needs no more than its flags say",
            'responses=("test",)',
        ),
        (
            {"measure": lambda e, *_: None if e.train.responses is None else float(e.train.responses.sum())},
            "it needs no more than its flags say",
            'responses=("train",)',
        ),
        ({"measure": largest_response}, "it needs no more than its flags say", "them, by `needs`"),
        (
            {"measure": lambda e, *_: len(e.train.statistics)},
            "it needs no more than its flags say",
            "them, by `needs`",
        ),
        (
            {"measure": lambda _e, _s, c: float(sum(view.logits.mean() for view in c.needed_run()[1]()))},
            "it needs no more than its flags say",
            "reruns=True",
        ),
    ],
)
def test_broken_metrics(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("metrics", replace(GOOD_METRIC, **change), tmp_path, promise)[promise]


def test_a_good_one_breaks_no_promise(tmp_path: Path) -> None:
    assert broken("metrics", GOOD_METRIC, tmp_path) == {}
