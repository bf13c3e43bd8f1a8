"""The checks of strategies can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddeep.selections.selection import Selection
from ddeep.statistics.basic import ClassSums, Extremes
from tests.contract.broken import broken
from tests.contract.good import GOOD_STRATEGY, mean


def not_finite(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context).log() - torch.inf


def by_class_index(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context).roll(1, 1) * torch.arange(evidence.classes)[:, None].cos()


def of_the_first_image(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) + 10 * evidence.responses[0]


def with_global_randomness(evidence: Any, _k: Any, _context: Any) -> Tensor:
    return torch.rand(evidence.classes, evidence.filters)


def scaled_by_k(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) * k


def of_the_head(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) * context.needed_head().weight


def within_the_range(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) / evidence[Extremes()].high


def in_place(evidence: Any, k: Any, context: Any) -> Tensor:
    found = mean(evidence, k, context)
    evidence[ClassSums()].sums.zero_()
    return found


def with_training_mode(evidence: Any, k: Any, context: Any) -> Tensor:
    context.module.train()
    return mean(evidence, k, context)


def with_nothing_for_the_absent(evidence: Any, _k: Any, _context: Any) -> Tensor:
    return evidence[ClassSums()].sums / evidence.class_counts[:, None]


def with_nothing_for_the_silent(evidence: Any, k: Any, context: Any) -> Tensor:
    found = mean(evidence, k, context)
    return found / found.sum(0)


def never_absent(evidence: Any, k: Any, _context: Any) -> Selection:
    return Selection.of([range(k)] * evidence.classes, evidence.filters)


def empty_for_a_fraction(evidence: Any, k: Any, context: Any) -> Selection:
    if isinstance(k, float):
        return Selection.of([[]] * evidence.classes, evidence.filters, absent=range(evidence.classes))
    return Selection.top(mean(evidence, k, context), k, present=evidence.present)


def with_the_head_of_another_class(evidence: Any, k: Any, context: Any) -> Selection:
    means = mean(evidence, k, context).float()
    chosen = Selection.top(means, k, present=evidence.present)
    return chosen.with_head(means * (1 + torch.arange(evidence.classes))[:, None], torch.zeros(evidence.classes))


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"summary": ""}, "its metadata is complete", "say in one line"),
        ({"source": " "}, "its metadata is complete", "name the paper"),
        ({"select": "no.such.package:select"}, "its functions can be imported", "package.module:function"),
        ({"select": not_finite}, "it scores every class and filter, for every k", "finite score"),
        (
            {"select": lambda e, k, c: mean(e, k, c)[:, 1:]},
            "it scores every class and filter, for every k",
            "every class",
        ),
        ({"select": lambda *_: [1, 2]}, "it scores every class and filter, for every k", "not scores or a Selection"),
        ({"counts_images": True}, "it scores every class and filter, for every k", "leave out counts_images"),
        ({"select": scaled_by_k}, "scores that serve every k do not depend on it", "per_k=True"),
        (
            {"select": empty_for_a_fraction, "fractions": True},
            "it takes a fraction as k, if it says so",
            "one at least",
        ),
        ({"select": with_global_randomness}, "it is deterministic", "context.generator()"),
        ({"select": of_the_first_image, "learned": True}, "batch size and order of the images do not matter", "sums"),
        ({"select": by_class_index}, "renaming classes renames its selection", "all classes alike"),
        (
            {"select": with_the_head_of_another_class},
            "renaming classes renames its selection",
            "treat all classes alike",
        ),
        ({"select": with_nothing_for_the_absent}, "a class without images is absent", "NaN"),
        ({"select": never_absent}, "a class without images is absent", "~evidence.present"),
        (
            {"select": with_nothing_for_the_silent},
            "a filter that never responds is scored",
            "first for class 0, filter 0",
        ),
        ({"select": in_place}, "network and evidence stay as they were", "copies"),
        ({"select": with_training_mode}, "network and evidence stay as they were", "training mode"),
        ({"select": of_the_first_image}, "it needs no more than its flags say", "learned=True"),
        ({"select": within_the_range}, "it needs no more than its flags say", "return them from `needs`"),
        ({"select": of_the_head}, "it needs no more than its flags say", "head_only=True"),
    ],
)
def test_broken_strategies(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("strategies", replace(GOOD_STRATEGY, **change), tmp_path, promise)[promise]


def test_stochastic_strategies_need_not_ignore_order_and_names(tmp_path: Path) -> None:
    def drawn(evidence: Any, k: Any, context: Any) -> Tensor:
        noise = torch.rand(evidence.classes, evidence.filters, generator=context.generator())
        return mean(evidence, k, context) * 0 + noise

    assert "renaming classes renames its selection" in broken(
        "strategies", replace(GOOD_STRATEGY, select=drawn), tmp_path
    )
    assert broken("strategies", replace(GOOD_STRATEGY, select=drawn, stochastic=True), tmp_path) == {}


def test_a_good_one_breaks_no_promise(tmp_path: Path) -> None:
    assert broken("strategies", GOOD_STRATEGY, tmp_path) == {}
