"""Heads of few weights: from those alone comes what comes from the whole table."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.heads import _narrow, _objective
from ddeep.heads._narrow import Rows, columns_of, narrowed, worth_it
from ddeep.heads._objective import HeadProblems
from ddeep.heads.accuracy import predict, predict_all
from ddeep.heads.refit import refit_all
from ddeep.networks.head import Head
from tests.support.effort import examples

CLASSES, FILTERS, IMAGES = 7, 12, 90


def problem(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Responses, labels of all classes but the last, a head, and masks of three heads of unequal width."""
    generator = torch.Generator().manual_seed(seed)
    responses = torch.randn(IMAGES, FILTERS, generator=generator).relu()
    labels = torch.arange(IMAGES) % (CLASSES - 1)
    weight = torch.randn(CLASSES, FILTERS, generator=generator)
    order = torch.rand(3, CLASSES, FILTERS, generator=generator).argsort(2)
    masks = order < torch.tensor([1, 2, 3])[:, None, None]
    masks[2, 0] = False
    masks[1:, -1] = True  # as of a class without images
    return responses, labels, weight, torch.randn(CLASSES, generator=generator), masks


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Any head of few weights counts as narrow, and few images are taken at once."""
    monkeypatch.setattr(_narrow, "TABLE", 0)
    monkeypatch.setattr(_narrow, "SHARE", 0.5)
    return monkeypatch


def test_logits_are_those_of_the_masked_head() -> None:
    responses, _, weight, bias, masks = problem(0)
    columns = columns_of(responses)
    each = [narrowed(Head(weight * mask, bias), mask.sum(1) > 3) for mask in masks]
    expected = [weight @ responses.T + bias[:, None] for weight in weight * masks]
    for rows, own in zip(each, expected, strict=True):
        torch.testing.assert_close(rows.logits(columns), own)


def test_rows_of_one_width_stand_below_one_another() -> None:
    responses, _, weight, bias, masks = problem(0)
    heads = [Head(weight * mask, bias) for mask in (masks[2], masks[2].roll(1, 0), masks[2].roll(3, 0))]
    below, columns = (
        Rows.below([narrowed(head, (head.weight != 0).sum(1) > 3) for head in heads]),
        columns_of(responses),
    )
    expected = torch.cat([head.weight @ responses.T + head.bias[:, None] for head in heads])
    for start, stop in ((0, 3 * CLASSES), (3, 2 * CLASSES - 1), (CLASSES - 1, CLASSES), (8, 3 * CLASSES + 5)):
        torch.testing.assert_close(below.part(start, stop).logits(columns), expected[start:stop])


@given(seed=st.integers(0, 999))
@examples(10)
def test_loss_gradient_and_curvature_are_those_of_the_whole_table(seed: int) -> None:
    responses, labels, weight, bias, masks = problem(seed)
    problems = HeadProblems(responses, labels, weight, bias, masks, [0.1, 0.2, 0.3])
    problems.dtype = torch.float64
    packed, which = problems.pack([Head(weight * mask, bias) for mask in masks]), torch.tensor([2, 0])
    packed = packed[which] + 0.1
    assert not problems.narrow
    expected = *problems.gradient(packed, which), problems.curvature(packed, which)
    problems.narrow = True
    with pytest.MonkeyPatch.context() as patch:
        for numbers in (_objective.NUMBERS, CLASSES * _narrow.FEWEST):  # all at once; one head and 64 images at a time
            patch.setattr(_objective, "NUMBERS", numbers)
            found = *problems.gradient(packed, which), problems.curvature(packed, which)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other)


def test_the_refit_is_the_same_and_absent_classes_keep_their_rows(narrow: pytest.MonkeyPatch) -> None:
    responses, labels, weight, bias, masks = problem(1)
    assert worth_it(CLASSES, FILTERS, 3)
    few = refit_all(responses, labels, weight, bias, masks, l2=0.01)
    narrow.setattr(_narrow, "TABLE", 2**15)
    whole = refit_all(responses, labels, weight, bias, masks, l2=0.01)
    for one, other, mask in zip(few, whole, masks, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        torch.testing.assert_close(one.head.weight, other.head.weight, atol=1e-3, rtol=1e-3)
        assert not one.head.weight[~mask].any()
        torch.testing.assert_close(one.head.weight[-1], (weight * mask)[-1])
        assert one.head.bias[-1] == bias[-1]


def test_refits_work_in_inference_mode(narrow: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    with torch.inference_mode():
        responses, labels, weight, bias, masks = problem(2)
        assert all(one.gradient <= 1e-5 for one in refit_all(responses, labels, weight, bias, masks, l2=0.01))


def test_heads_of_all_widths_are_judged_side_by_side(narrow: pytest.MonkeyPatch) -> None:
    responses, _, weight, bias, masks = problem(3)
    heads = [Head(weight * mask, bias) for mask in [*masks, torch.ones_like(masks[0])]]
    expected = torch.stack([(responses @ head.weight.T + head.bias).argmax(1) for head in heads])
    narrow.setattr(_narrow, "NUMBERS", 2 * CLASSES * _narrow.FEWEST)  # two heads, 64 images
    assert torch.equal(predict_all(responses, heads), expected)
    among = torch.tensor([True, False, True, True, False, True, False])
    logits = (responses @ weight.T + bias).masked_fill(~among, -torch.inf)
    assert torch.equal(predict(responses, weight, bias, among), logits.argmax(1))
