"""The lower bound of the refit's loss: below that of every selection, and as near as the hull of the problem is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.heads._lbfgs import minimise
from ddeep.heads._objective import HeadProblems
from ddeep.heads.bound import _Relaxation, lower_bound, objective
from ddeep.heads.refit import refit, refit_all
from ddeep.networks.head import Head
from tests.reference import bound as reference
from tests.reference.refit import objective as slow_objective
from tests.support.effort import examples


def made(images: int, classes: int, filters: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, filters, generator=generator)
    return centres[labels] + 1.5 * torch.randn(images, filters, generator=generator) + 1, labels


def zeros(classes: int, filters: int) -> Head:
    return Head(torch.zeros(classes, filters), torch.zeros(classes))


@pytest.mark.parametrize(("filters", "l2", "looseness"), [(5, 1e-3, 0.4), (8, 1e-2, 0.25), (5, 1e-1, 0.1)])
def test_no_selection_of_all_has_a_smaller_loss(filters: int, l2: float, looseness: float) -> None:
    responses, labels = made(48, 3, filters, seed=1)
    masks = torch.from_numpy(reference.masks(3, filters, 2))
    assert len(masks) == (filters * (filters - 1) // 2) ** 3
    head = zeros(3, filters)
    problems = HeadProblems(responses, labels, *head, masks, l2)
    rough = minimise(problems, problems.pack([head] * len(masks)), tolerance=1e-2, most=8)
    nearly = torch.tensor([one.loss for one in rough]).argsort()[:300]
    losses = [one.loss for one in refit_all(responses, labels, *head, masks[nearly], l2=l2, tolerance=1e-4)]
    exact = refit(responses, labels, *head, masks[nearly[int(np.argmin(losses))]], l2=l2)
    dense = refit(responses, labels, *head, torch.ones(3, filters, dtype=torch.bool), l2=l2)
    found = lower_bound(responses, labels, exact.head, torch.full((3,), 2), l2)
    assert 0.995 * dense.loss < found.least < min(losses) + 1e-5
    assert found.least <= found.relaxed <= 1.004 * exact.loss
    assert found.relaxed - found.least <= 0.0031 * found.relaxed
    assert (exact.loss - found.least) / exact.loss < looseness
    assert objective(responses, labels, exact.head, l2) == pytest.approx(exact.loss, rel=1e-5)


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 5),
    filters=st.integers(1, 7),
    steps=st.integers(1, 12),
    l2=st.sampled_from([1e-6, 1e-3, 0.3]),
)
@examples(12)
def test_it_holds_after_any_number_of_steps_from_any_head(
    seed: int, classes: int, filters: int, steps: int, l2: float
) -> None:
    responses, labels = made(40, classes + 1, filters, seed)
    labels = labels.clamp(max=classes - 1)  # of unequal sizes, and the last of as many outputs has no images
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(classes + 1, filters, generator=generator) < 0.6
    mask[:, 0] = True
    start = Head(torch.randn(classes + 1, filters, generator=generator), torch.randn(classes + 1, generator=generator))
    dense = zeros(classes + 1, filters)
    loss = refit(responses, labels, *dense, mask, l2=l2).loss
    found = lower_bound(responses, labels, start, mask.sum(1), l2, steps=steps)
    assert found.least <= loss + 1e-6
    assert found.steps <= steps


def test_with_all_filters_it_is_the_refit_itself() -> None:
    responses, labels = made(200, 4, 5, seed=2)
    dense = refit(responses, labels, *zeros(4, 5), torch.ones(4, 5, dtype=torch.bool), l2=0.05)
    found = lower_bound(responses, labels, zeros(4, 5), torch.full((4,), 5), 0.05)
    assert found.least == pytest.approx(dense.loss, rel=0.004)
    assert found.least <= dense.loss


def test_one_class_alone_has_no_loss() -> None:
    responses, labels = made(20, 3, 4, seed=0)
    assert lower_bound(responses, torch.ones_like(labels), zeros(3, 4), torch.full((3,), 2), 0.1).least == 0


@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
@examples(30)
def test_a_step_ends_where_the_hull_says(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    responses, labels = made(20, 2, 6, seed=0)
    relaxation = _Relaxation(responses, labels, torch.full((2,), k), 0.3)
    towards, scale = generator.normal(size=(2, 6)), generator.uniform(0.1, 2, size=(2, 6))
    step, value = relaxation.nearest(torch.tensor(towards), torch.tensor(scale))

    def total(weight: np.ndarray) -> float:
        norms = sum(reference.norm(row, k) ** 2 for row in weight)
        return float((scale * (weight - towards) ** 2).sum() / 2 + 0.15 * norms)

    assert value == pytest.approx(0.15 * sum(reference.norm(row, k) ** 2 for row in step.numpy()), rel=1e-6)
    for size in (1e-3, 1e-1):
        assert total(step.numpy() + size * generator.normal(size=(2, 6))) >= total(step.numpy()) - 1e-9


def test_the_objective_is_the_refits() -> None:
    responses, labels = made(50, 3, 4, seed=5)
    head = Head(torch.randn(3, 4), torch.randn(3))
    expected = slow_objective(responses.numpy(), labels.numpy(), *(p.numpy() for p in head), np.ones((3, 4)), 0.2)
    assert objective(responses, labels, head, 0.2) == pytest.approx(expected)
