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
    """Least loss, weight and bias: a trust region with the whole Hessian, over standardised responses."""
    inputs, labels = problem.responses.double().numpy(), problem.labels.numpy()
    scales, images = inputs.std(0) + 1e-12, len(labels)
    ones = np.ones((images, 1))
    columns = [np.hstack([inputs[:, chosen] / scales[chosen], ones]) for chosen in mask.numpy()]
    penalties = [np.append(L2 / scales[chosen] ** 2, 0.0) for chosen in mask.numpy()]
    ends = np.cumsum([len(penalty) for penalty in penalties])[:-1]

    def shares(flat: np.ndarray) -> np.ndarray:
        logits = [own @ part for own, part in zip(columns, np.split(flat, ends), strict=True)]
        return log_softmax(np.stack(logits, 1), axis=1)

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logs, penalty = shares(flat), np.concatenate(penalties)
        error = np.exp(logs)
        error[np.arange(images), labels] -= 1
        slope = np.concatenate([own.T @ error[:, c] / images for c, own in enumerate(columns)])
        loss = -logs[np.arange(images), labels].mean() + (penalty * flat**2).sum() / 2
        return float(loss), slope + penalty * flat

    def hessian(flat: np.ndarray) -> np.ndarray:
        p = np.exp(shares(flat)) / np.sqrt(images)
        weights = [own * p[:, c, None] for c, own in enumerate(columns)]
        blocks = [[-one.T @ other for other in weights] for one in weights]
        for c, own in enumerate(columns):
            blocks[c][c] += own.T @ weights[c] / np.sqrt(images)
        return np.block(blocks) + np.diag(np.concatenate(penalties))

    start = np.zeros(sum(map(len, penalties)))
    found = minimize(both, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-8})
    assert found.success, found.message
    weight, bias = np.zeros(mask.shape), np.zeros(len(mask))
    for c, part in enumerate(np.split(found.x, ends)):
        weight[c, mask[c].numpy()], bias[c] = part[:-1] / scales[mask[c].numpy()], part[-1]
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
