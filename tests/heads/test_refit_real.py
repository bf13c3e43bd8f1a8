"""The refit on a real network's responses, against scipy's solver in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from ddeep.evidence.store import gather
from ddeep.experiments.opening import open_subject
from ddeep.experiments.settings import SubjectConfig
from ddeep.heads.accuracy import predict
from ddeep.heads.refit import L2, Refit, refit, refit_all
from ddeep.networks.head import Head

SIZES = (2, 5, 20)


class Problem(NamedTuple):
    """Half of the images to fit to, half to judge by, the dense head, and selections of several sizes."""

    responses: Tensor
    labels: Tensor
    others: Tensor
    truth: Tensor
    head: Head
    masks: Tensor


@pytest.fixture(scope="module")
def problem(real_data: Callable[[str], Path]) -> Problem:
    real_data("weights/resnet20-12fca82f.th")
    folder = real_data("cifar10").parent
    subject = open_subject(
        SubjectConfig(model="resnet20", dataset="cifar10", weights="resnet20-12fca82f", data_dir=folder)
    )
    (layer,) = subject.layers()
    responses, labels = gather(subject, "test", {layer: []}, keep=[layer])[layer].cached_responses()
    head = subject.head_at(layer)
    assert head is not None
    means = torch.stack([responses[labels == c].mean(0) for c in range(10)])
    order = (means - means.mean(0)).argsort(1, descending=True).argsort(1)
    masks = torch.stack([order < size for size in SIZES])
    return Problem(responses[::2].clone(), labels[::2], responses[1::2].clone(), labels[1::2], head, masks)


@pytest.fixture(scope="module")
def fitted(problem: Problem) -> list[Refit]:
    return refit_all(problem.responses, problem.labels, *problem.head, problem.masks, tolerance=1e-6)


def scipys(problem: Problem, mask: Tensor) -> tuple[float, Tensor, Tensor]:
    """Least loss, weight and bias: L-BFGS-B over standardised responses, to the last digit it can reach."""
    inputs, labels = problem.responses.double().numpy(), problem.labels.numpy()
    chosen, scales, images = mask.numpy(), inputs.std(0) + 1e-12, len(labels)

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight = np.zeros(chosen.shape)
        weight[chosen] = flat[:-10]
        return weight / scales, flat[-10:]

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(flat)
        shares = log_softmax(inputs @ weight.T + bias, axis=1)
        loss = -shares[np.arange(images), labels].mean() + L2 / 2 * (weight**2).sum()
        error = np.exp(shares)
        error[np.arange(images), labels] -= 1
        slope = (error.T @ inputs / images + L2 * weight) / scales
        return float(loss), np.concatenate([slope[chosen], error.mean(0)])

    start = np.zeros(int(chosen.sum()) + 10)
    found = minimize(
        both, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 9000, "gtol": 1e-8, "ftol": 0}
    )
    weight, bias = unpack(found.x)
    return float(found.fun), torch.from_numpy(weight).float(), torch.from_numpy(bias).float()


@pytest.mark.parametrize("which", range(len(SIZES)), ids=map(str, SIZES))
def test_the_same_minimum_and_accuracy_as_scipys(problem: Problem, fitted: list[Refit], which: int) -> None:
    ours = fitted[which]
    least, weight, bias = scipys(problem, problem.masks[which])
    assert ours.loss == pytest.approx(least, abs=1e-6)
    heads = ((ours.head.weight, ours.head.bias), (weight, bias))
    rights = [int((predict(problem.others, *head) == problem.truth).sum()) for head in heads]
    assert abs(rights[0] - rights[1]) <= 0.0002 * len(problem.truth)  # 0.02 points


def test_side_by_side_is_one_by_one(problem: Problem) -> None:
    together = refit_all(problem.responses, problem.labels, *problem.head, problem.masks)
    for one, mask in zip(together, problem.masks, strict=True):
        alone = refit(problem.responses, problem.labels, *problem.head, mask)
        assert one.gradient <= 1e-5
        assert one.loss == pytest.approx(alone.loss, abs=1e-6)
