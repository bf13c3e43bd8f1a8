"""The checks of regularizers can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddeep.registry.specs import RegularizerSpec
from tests.contract.broken import broken


def spread(_classes: int, _filters: Any, alpha: float) -> Callable[..., Tensor]:
    return lambda responses, _labels: alpha * torch.stack([r.square().mean() for r in responses.values()]).sum()


def of(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _classes, _filters, alpha: lambda responses, labels: alpha * function(responses["late"], labels)


GOOD_REGULARIZER = RegularizerSpec("good", build=spread, options={"alpha": 1.0}, summary="squares", source="here")


@pytest.mark.parametrize(
    ("build", "promise", "fix"),
    [
        (of(lambda r, _: r.mean(0)), "it is a finite scalar for every batch", "scalar tensor"),
        (of(lambda r, _: r.std(0).mean()), "it is a finite scalar for every batch", "0 where it is not defined"),
        (of(lambda r, _: r.detach().mean()), "it has finite gradients", "from the responses"),
        (of(lambda r, _: (0 * r.sum(1)).sqrt().sum()), "it has finite gradients", "away from 0"),
        (of(lambda r, _: r.mean() + torch.randn(())), "it is deterministic", "no random numbers"),
        (of(lambda r, _: r[0].mean()), "the order of a batch does not matter", "alike"),
        (of(lambda r, _: r.data.mul_(2).sum() + r.sum()), "the responses stay as they were", "in place"),
    ],
)
def test_broken_regularizers(build: Any, promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("regularizers", replace(GOOD_REGULARIZER, build=build), tmp_path, promise)[promise]


def test_options_are_numbers(tmp_path: Path) -> None:
    spec = replace(GOOD_REGULARIZER, build=lambda *_, **__: spread(0, 0, 1.0))
    object.__setattr__(spec, "options", {"mode": "mean"})  # past the tests' own checks of annotations
    assert list(broken("regularizers", spec, tmp_path)) == ["its options are numbers"]


def test_a_good_one_breaks_no_promise(tmp_path: Path) -> None:
    assert broken("regularizers", GOOD_REGULARIZER, tmp_path) == {}
