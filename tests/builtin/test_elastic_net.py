"""The elastic-net path against proximal gradient steps in float64."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.evidence.context import Context
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import elastic_net
from tests.reference import elastic_net as reference
from tests.support.evidence import evidence_of

FILTERS = 6


def batch(seed: int, classes: int = 3, images: int = 120) -> ResponseBatch:
    """Responses that tell the classes apart but not fully, of several scales."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, FILTERS, generator=generator)
    scales = 10 ** torch.linspace(-1, 1, FILTERS)
    responses = (centres[labels] + 1.5 * torch.randn(images, FILTERS, generator=generator)).relu() * scales
    return ResponseBatch(responses, labels, torch.arange(images))


def scores(given: ResponseBatch, k: int, classes: int = 3) -> Tensor:
    return elastic_net.select(evidence_of(given, [], classes), k, Context(nn.ReLU())).double()


def weights(size: np.ndarray) -> np.ndarray:
    """What of the reference's |weight| is not zero but for rounding."""
    return np.where(size > 1e-7, size, 0)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("k", [1, 3])
def test_run_to_the_end_it_is_the_path(k: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_net, "EPOCHS", 5000)
    monkeypatch.setattr(elastic_net, "TOLERANCE", 1e-7)
    for seed in range(2):
        given = batch(seed, classes)
        found = scores(given, k, classes).numpy()
        weight, _, slope, strength = reference.path(given.responses.numpy(), given.labels.numpy(), classes, k)
        size = weights(abs(weight))
        np.testing.assert_allclose(np.where(size > 0, found, size), size, atol=2e-3, rtol=2e-3)
        # The others rank below all of these, by their slopes.
        assert found[size == 0].max(initial=0) < found[size > 0].min()
        ours, theirs = found[size == 0], slope[size == 0]
        clearly = theirs[:, None] > theirs + 0.02 * strength
        assert (ours[:, None] > ours)[clearly].all()


@pytest.mark.parametrize("seed", range(3))
def test_cut_for_time_it_is_close_to_the_minimum(seed: int) -> None:
    given = batch(seed, images=600)
    inputs, labels = reference.standardised(given.responses.numpy()), given.labels.numpy()
    weight, bias = np.zeros((3, FILTERS)), np.zeros(3)
    strength = abs(reference.slopes(inputs, labels, weight, bias)[0]).max() / reference.ALPHA
    for fit, _ in zip(elastic_net.path(torch.from_numpy(inputs).float(), given.labels), range(4), strict=False):
        strength /= 2
        weight, bias = reference.minimum(inputs, labels, strength, weight, bias)
        least = reference.objective(inputs, labels, weight, bias, strength)
        ours = fit.weight.double().numpy()
        shift = np.log(fit.shares.double().numpy() + 1e-12) - inputs @ ours.T
        offset = (shift - shift.mean(1, keepdims=True)).mean(0)
        assert least <= reference.objective(inputs, labels, ours, offset, strength) + 1e-6
        assert reference.objective(inputs, labels, ours, offset, strength) == pytest.approx(least, rel=1e-3)


def test_a_class_asks_for_more_filters_than_matter() -> None:
    given = batch(0)
    given.responses[:, 2] = 7.0
    found = scores(given, FILTERS)
    assert (found[:, 2] == 0).all()
    assert (found[:, [0, 1, 3, 4, 5]] > 0).all()


def test_scales_do_not_matter() -> None:
    given = batch(1)
    scaled = ResponseBatch(given.responses * 2.0 ** torch.arange(FILTERS), given.labels, given.indices)
    torch.testing.assert_close(scores(scaled, 2), scores(given, 2))


@pytest.mark.parametrize("alike", ["filters", "classes"])
def test_where_nothing_differs_nothing_is_scored(alike: str) -> None:
    given = batch(2)
    if alike == "filters":
        given.responses[:] = 0.3
    else:
        given.labels[:] = 1
    assert (scores(given, 2) == 0).all()


@pytest.mark.parametrize("order", [(1, 2, 4), (4, 1, 2), (2, 4, 1)])
def test_every_step_of_the_path_is_computed_once(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many k are asked for, in whatever order; and nothing is kept beyond the evidence."""
    given, fits = batch(1), [0]
    expected = {k: scores(given, k) for k in order}

    class Counted(LogisticRegression):
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            fits[0] += 1
            return super().fit(*args, **kwargs)

    monkeypatch.setattr(elastic_net, "LogisticRegression", Counted)
    scores(given, max(order))
    alone, fits[0] = fits[0], 0
    evidence = evidence_of(given, [], 3)
    for k in order:
        assert torch.equal(elastic_net.select(evidence, k, Context(nn.ReLU())), expected[k])
    assert fits[0] == alone
    before = len(elastic_net._WALKS)
    del evidence
    gc.collect()
    assert len(elastic_net._WALKS) == before - 1


def test_what_would_take_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_net, "MOST_WEIGHTS", 10)
    with pytest.raises(ConfigError, match=r"elastic-net.*no more than 10"):
        scores(batch(0), 2)


def test_of_many_images_some_are_used_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_net, "MOST_IMAGES", 50)
    given = batch(3)
    inputs = torch.from_numpy(reference.standardised(given.responses.numpy())).float()
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    one, other = (elastic_net.thinned(inputs[rows], given.labels[rows]) for rows in (torch.arange(120), order))
    assert len(one[1]) == len(one[0].unique(dim=0)) == 50
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
