"""What is derived of kept responses: once for all, from those alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddeep.errors import ConfigError
from ddeep.statistics.basic import ClassSums
from ddeep.statistics.batch import ResponseBatch
from tests.support.evidence import evidence_of


def batch() -> ResponseBatch:
    return ResponseBatch(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1]), torch.arange(3))


def test_it_is_worked_out_once_for_every_function_and_arguments() -> None:
    asked = []

    def scaled(responses: Tensor, labels: Tensor, by: float) -> Tensor:
        asked.append((by, len(labels)))
        return by * responses

    evidence = evidence_of(batch(), [], 2)
    first = evidence.limited([], True).derived(scaled, 2.0)
    assert evidence.limited([ClassSums()], True).derived(scaled, 2.0) is first
    assert torch.equal(first, 2 * batch().responses)
    evidence.derived(scaled, 3.0)
    assert asked == [(2.0, 3), (3.0, 3)]
    evidence.forget()
    assert evidence.derived(scaled, 2.0) is not first
    assert len(asked) == 3


def test_who_does_not_declare_the_responses_gets_nothing_derived_of_them() -> None:
    evidence = evidence_of(batch(), [], 2)
    evidence.derived(lambda responses, _labels: responses)
    with pytest.raises(ConfigError, match="learned=True"):
        evidence.limited([], False).derived(lambda responses, _labels: responses)
