"""The refit: a minimum of its objective (docs/mathematics.md, Refit), wherever and however the responses are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from ddeep.errors import DataError
from ddeep.heads import _objective
from ddeep.heads import refit as refit_module
from ddeep.heads._objective import HeadProblems
from ddeep.heads.refit import GRADIENT_TOLERANCE, L2, refit, refit_all
from tests.reference.refit import gradient, objective
from tests.support.effort import examples

Problem = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def problem(seed: int, images: int = 200, classes: int = 4, filters: int = 6, k: int = 3) -> Problem:
    """Responses that tell the classes apart but not fully, of scales between 0.01 and 10, and a random start."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, filters, generator=generator)
    scales = 10 ** torch.linspace(-2, 1, filters)
    responses = (centres[labels] + torch.randn(images, filters, generator=generator)).relu() * scales
    mask = torch.rand(classes, filters, generator=generator).argsort(1) < k
    weight = torch.randn(classes, filters, generator=generator) / scales
    return responses, labels, weight * mask, torch.randn(classes, generator=generator), mask


def exact(responses: Tensor, labels: Tensor, mask: Tensor, l2: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The minimum by scipy, in float64 and by the reference's own formulas."""
    classes, filters = mask.shape
    inputs, truth, chosen = responses.double().numpy(), labels.numpy(), mask.numpy()
    scales = inputs.std(0) + 1e-12

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return flat[: classes * filters].reshape(classes, filters) / scales, flat[classes * filters :]

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(flat)
        by_weight, by_bias = gradient(inputs, truth, weight, bias, chosen, l2)
        value = objective(inputs, truth, weight, bias, chosen, l2)
        return value, np.concatenate([(by_weight / scales).ravel(), by_bias])

    start = np.zeros(classes * (filters + 1))
    found = minimize(both, start, jac=True, method="L-BFGS-B", options={"maxiter": 10_000, "gtol": 1e-9, "ftol": 0})
    weight, bias = unpack(found.x)
    return np.where(chosen, weight, 0), bias, float(found.fun)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_minimum(seed: int) -> None:
    responses, labels, weight, bias, mask = problem(seed)
    found = refit(responses, labels, weight, bias, mask)
    expected_weight, expected_bias, least = exact(responses, labels, mask, L2)
    assert found.loss == pytest.approx(least, rel=1e-5)
    assert found.loss == pytest.approx(
        objective(*(t.numpy() for t in (responses, labels, found.head.weight, found.head.bias, mask)), L2), rel=1e-6
    )
    # The bias is free, so only its differences matter.
    ours = found.head.bias.double().numpy()
    np.testing.assert_allclose(ours - ours.mean(), expected_bias - expected_bias.mean(), atol=0.02)
    spread = responses.std(0).numpy()
    np.testing.assert_allclose(found.head.weight.numpy() * spread, expected_weight * spread, atol=0.02)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 6), l2=st.sampled_from([1e-4, 1e-2]))
@examples(15)
def test_the_gradient_is_flat_and_nothing_nearby_is_lower(seed: int, k: int, l2: float) -> None:
    responses, labels, weight, bias, mask = problem(seed, images=100, k=k)
    found = refit(responses, labels, weight, bias, mask, l2=l2)
    assert found.gradient <= GRADIENT_TOLERANCE
    arrays = [tensor.numpy() for tensor in (responses, labels, found.head.weight, found.head.bias, mask)]
    by_weight, by_bias = gradient(*arrays, l2)
    assert max(abs(by_weight).max(), abs(by_bias).max()) <= 2 * GRADIENT_TOLERANCE  # rounded to float32
    least = objective(*arrays, l2)
    assert least <= objective(*(t.numpy() for t in (responses, labels, weight, bias, mask)), l2) + 1e-9
    random = np.random.default_rng(seed)
    for _ in range(5):
        step = random.normal(size=mask.shape) / (1 + responses.std(0).numpy()) * 0.1
        nearby = [arrays[0], arrays[1], arrays[2] + step, arrays[3] + random.normal(size=len(bias)) * 0.1, arrays[4]]
        assert least <= objective(*nearby, l2) + 1e-7


def test_weights_outside_the_selection_stay_zero() -> None:
    responses, labels, weight, bias, mask = problem(1)
    found = refit(responses, labels, weight + 5.0, bias, mask)  # even where the start has some there
    assert (found.head.weight[~mask] == 0).all()
    assert (found.head.weight[mask] != 0).any()


def test_reading_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given_problem = problem(2)
    whole = refit(*given_problem)
    monkeypatch.setattr(_objective, "IMAGES", 17)
    parts = refit(*given_problem)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(parts.head.weight, whole.head.weight, rtol=1e-2, atol=1e-2)


def test_mapped_responses_do(tmp_path: Path) -> None:
    responses, *others = problem(3)
    np.save(tmp_path / "rows.npy", responses.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "rows.npy", mmap_mode="c"))
    assert torch.equal(refit(mapped, *others).head.weight, refit(responses, *others).head.weight)


def test_the_start_does_not_matter() -> None:
    responses, labels, weight, bias, mask = problem(4)
    one, other = refit(responses, labels, weight, bias, mask), refit(responses, labels, -3 * weight, bias + 7, mask)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_constant_and_dead_filters_do_no_harm() -> None:
    responses, labels, weight, bias, mask = problem(5)
    responses[:, 0] = 0
    responses[:, 1] = 3
    found = refit(responses, labels, weight, bias, mask)
    assert found.gradient <= GRADIENT_TOLERANCE
    assert torch.isfinite(found.head.weight).all()
    assert (found.head.weight[:, 0].abs() <= GRADIENT_TOLERANCE / L2).all()  # the penalty takes it to zero


def test_a_class_without_images_keeps_its_dense_row() -> None:
    responses, labels, weight, bias, mask = problem(6)
    here = labels != 2
    mask[2] = True  # as Selection.mask gives it for absent classes
    weight[2] = torch.tensor([0.5, -0.5, 0.25, 0.1, 0.2, 0.3])
    found = refit(responses[here], labels[here], weight, bias, mask)
    assert torch.equal(found.head.weight[2], weight[2])
    assert found.head.bias[2] == bias[2]
    assert found.gradient <= GRADIENT_TOLERANCE


def test_a_single_class_has_nothing_to_fit() -> None:
    responses, labels, weight, bias, mask = problem(7, classes=1)
    found = refit(responses, labels, weight, bias, mask)
    assert found.gradient <= GRADIENT_TOLERANCE
    assert found.loss == pytest.approx(0, abs=1e-6)


def test_where_it_cannot_get_there_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit_module, "MOST_STEPS", 2)
    with pytest.warns(UserWarning, match="refit stopped after 4 steps at a gradient of"):
        found = refit(*problem(8))
    assert found.gradient > GRADIENT_TOLERANCE


def test_a_loss_that_is_not_finite_is_refused() -> None:
    responses, labels, weight, bias, mask = problem(9)
    with pytest.raises(DataError, match="loss is not finite"):
        refit(responses, labels, weight * torch.nan, bias, mask)


def test_what_it_is_given_stays_as_it_was() -> None:
    given_problem = problem(10)
    copies = [tensor.clone() for tensor in given_problem]
    refit(*given_problem)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given_problem, copies, strict=True))


@pytest.mark.parametrize("room", [2**27, 100], ids=["side by side", "one group after the other, curvature's diagonal"])
def test_many_at_once_are_each_by_itself(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    responses, labels, weight, bias, _ = problem(11)
    random = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).argsort(1)
    masks = torch.stack([random < k for k in (3, 1, 6, 2)])
    masks[0, 1] = random[1] < 5  # classes of one head may differ
    alone = [refit(responses, labels, weight, bias, mask, tolerance=1e-6) for mask in masks]
    for module in (_objective, refit_module):
        monkeypatch.setattr(module, "LARGEST", room)
    together = refit_all(responses, labels, weight, bias, masks, tolerance=1e-6)
    for one, other, mask in zip(alone, together, masks, strict=True):
        assert other.gradient <= 1e-6
        assert other.loss == pytest.approx(one.loss, abs=1e-6)
        assert (other.head.weight[~mask] == 0).all()
        torch.testing.assert_close(
            other.head.weight * responses.std(0), one.head.weight * responses.std(0), rtol=0, atol=0.01
        )


def test_float64_finishes_what_float32_cannot() -> None:
    responses, labels, weight, bias, mask = problem(12)
    found = refit(responses * 1000, labels, weight / 1000, bias, mask, tolerance=1e-7)
    assert found.gradient <= 1e-7


def hopeless(scale: float, classes: int = 60, filters: int = 40) -> Problem:
    """One image a class, their responses nearly the same and large, as of an untrained network."""
    generator = torch.Generator().manual_seed(0)
    base = scale * (0.1 + torch.rand(filters, generator=generator))
    responses = base * (1 + 0.05 * torch.randn(classes, filters, generator=generator))
    weight = torch.randn(classes, filters, generator=generator) / filters**0.5
    mask = torch.rand(classes, filters, generator=generator).argsort(1) < 3
    return responses, torch.arange(classes), weight * mask, torch.zeros(classes), mask


def test_where_float32_wanders_float64_gets_there() -> None:
    responses, labels, weight, bias, mask = hopeless(30)
    found = refit(responses, labels, weight, bias, mask)
    assert found.gradient <= GRADIENT_TOLERANCE
    assert found.steps <= refit_module.ROUGH_STEPS + 200
    arrays = [tensor.numpy() for tensor in (responses, labels, found.head.weight, found.head.bias, mask)]
    by_weight, by_bias = gradient(*arrays, L2)
    # A weight rounded to float32 is off by 1e-8 or so, and moves a logit by that times the response.
    assert max(abs(by_weight).max(), abs(by_bias).max()) <= 1e-3


def test_costly_steps_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit_module, "WORK", 1)
    monkeypatch.setattr(refit_module, "LEAST_STEPS", 5)
    with pytest.warns(UserWarning, match="refit stopped after"):
        found = refit(*hopeless(100))
    assert found.steps <= 10


def test_a_start_better_than_what_rounding_makes_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given_problem = hopeless(1000)
    monkeypatch.setattr(refit_module, "MOST_STEPS", 10)
    with pytest.warns(UserWarning, match="refit stopped after"):
        found = refit(*given_problem)
    arrays = [tensor.numpy() for tensor in given_problem]
    start = objective(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], L2)
    assert found.loss <= start


def test_where_absent_classes_win_every_image_a_few_steps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shares are 0 at the start: no curvature, and a step along it leads far up on the other side."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(400) % 8
    responses = (torch.randn(8, 40, generator=generator)[labels] + torch.randn(400, 40, generator=generator)).relu()
    weight, bias = torch.randn(60, 40, generator=generator), torch.zeros(60)
    bias[8:] = 60
    masks = torch.rand(5, 60, 40, generator=generator).argsort(2) < 4
    masks[:, 8:] = True
    seen: list[tuple[int, float]] = []
    gradient = HeadProblems.gradient

    def counted(self: HeadProblems, packed: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        found = gradient(self, packed, which)
        seen.append((len(which), float(found[1].max())))
        return found

    monkeypatch.setattr(HeadProblems, "gradient", counted)
    found = refit_all(responses, labels, weight, bias, masks)
    assert max(one.gradient for one in found) <= GRADIENT_TOLERANCE
    assert seen[0][0] == 5  # side by side: absent classes' many filters are none of a group's curvature
    assert sum(heads for heads, _ in seen) < 150 * 5
    assert max(one.loss for one in found) < 2 < 50 < seen[0][1]
