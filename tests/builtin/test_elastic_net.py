"""The elastic-net path against proximal gradient steps in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddeep.evidence.context import Context
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import elastic_net, elastic_net_path
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


def selections(given: ResponseBatch, ks: Sequence[int], classes: int = 3) -> dict[int | float, Selection]:
    return elastic_net.select_all(evidence_of(given, [], classes), list(ks), Context(nn.ReLU()))


def scores(given: ResponseBatch, k: int, classes: int = 3) -> Tensor:
    """Of every class's k filters; 0 elsewhere."""
    found = selections(given, [k], classes)[k]
    table = torch.zeros(classes, FILTERS, dtype=torch.float64)
    for c, (filters, values) in enumerate(zip(found.filters, found.scores, strict=True)):
        table[c, list(filters)] = torch.tensor(values, dtype=torch.float64)
    return table


def problem(given: ResponseBatch) -> tuple[Tensor, Tensor]:
    """Standardised inputs, labels."""
    return torch.from_numpy(reference.standardised(given.responses.numpy())).float(), given.labels


def fits(inputs: Tensor, labels: Tensor) -> Iterator[elastic_net_path.Fit]:
    """Every head of the path."""
    return (step.fit() for step in elastic_net_path.path(inputs, labels))


def weights(size: np.ndarray) -> np.ndarray:
    """What of the reference's |weight| is not zero but for rounding."""
    return np.where(size > 1e-7, size, 0)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("k", [1, 2])
def test_it_is_the_path(k: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_net_path, "TOLERANCE", 1e-6)
    for seed in range(2):
        given = batch(seed, classes)
        weight, _, slope, strength = reference.path(given.responses.numpy(), given.labels.numpy(), classes, k)
        size = weights(abs(weight))
        found = selections(given, [k], classes)
        assert found[k].source["strength"] == pytest.approx(strength, rel=1e-6)
        for c, (filters, values) in enumerate(zip(found[k].filters, found[k].scores, strict=True)):
            assert list(filters) == sorted(range(FILTERS), key=lambda j, c=c: -size[c, j])[:k]
            np.testing.assert_allclose(values, size[c, list(filters)], rtol=1e-3)
        fit = next(f for f in fits(*problem(given)) if f.least >= k)
        ranks = elastic_net.ranks(fit).numpy()
        # The others rank below all of these, by their slopes.
        assert ranks[size == 0].max(initial=0) < ranks[size > 0].min()
        ours, theirs = ranks[size == 0], slope[size == 0]
        clearly = theirs[:, None] > theirs + 0.02 * strength
        assert (ours[:, None] > ours)[clearly].all()


@pytest.mark.parametrize("classes", [2, 5])
def test_every_step_is_as_close_to_the_minimum_as_it_says(classes: int) -> None:
    given = batch(7, classes, images=300)
    inputs, labels = reference.standardised(given.responses.numpy()), given.labels.numpy()
    weight, bias = np.zeros((classes, FILTERS)), np.zeros(classes)
    for fit in islice(fits(*problem(given)), 12):
        weight, bias = reference.minimum(inputs, labels, fit.strength, weight, bias)
        least = reference.objective(inputs, labels, weight, bias, fit.strength)
        ours, offset = fit.weight[:, :-1].double().numpy(), fit.weight[:, -1].double().numpy()
        assert least - 1e-6 <= reference.objective(inputs, labels, ours, offset, fit.strength) <= least * (1 + 1e-6)
        slope, by_bias = reference.slopes(inputs, labels, ours, offset)
        threshold = reference.ALPHA * fit.strength
        pull = slope + fit.strength * (reference.ALPHA * np.sign(ours) + (1 - reference.ALPHA) * ours)
        wrong = np.where(ours != 0, abs(pull), np.maximum(0, abs(slope) - threshold)).max()
        assert fit.residual == pytest.approx(max(wrong, abs(by_bias).max()) / threshold, abs=1e-5)
        assert fit.residual <= elastic_net_path.TOLERANCE


def test_screening_leaves_nothing_out() -> None:
    """Many filters, nearly alike in pairs, of which the strong rule forgets some now and then."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(90) % 3
    half = torch.randn(90, 30, generator=generator) + 0.5 * torch.randn(3, 30, generator=generator)[labels]
    inputs = torch.cat([half, half + 0.05 * torch.randn(90, 30, generator=generator)], 1)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    for fit in islice(fits(inputs, labels), 10):
        start = np.zeros((3, 60)), np.zeros(3)
        weight, bias = reference.minimum(inputs.double().numpy(), labels.numpy(), fit.strength, *start)
        least = reference.objective(inputs.double().numpy(), labels.numpy(), weight, bias, fit.strength)
        ours = fit.weight.double().numpy()
        found = reference.objective(inputs.double().numpy(), labels.numpy(), ours[:, :-1], ours[:, -1], fit.strength)
        assert found == pytest.approx(least, rel=1e-5)


def test_float32_reaches_the_same_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(batch(3, images=300))
    exact = list(islice(fits(*given), 12))
    monkeypatch.setattr(elastic_net_path, "EXACT", 0)
    for one, other in zip(exact, fits(*given), strict=False):
        assert other.weight.dtype == torch.float32
        assert other.residual <= elastic_net_path.TOLERANCE
        torch.testing.assert_close(other.weight.double(), one.weight, rtol=0.02, atol=1e-3)


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
def test_one_path_serves_all_k(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many k are asked for, in whatever order."""
    given, steps = batch(1), [0]
    expected = {k: selections(given, [k])[k] for k in order}

    def counted(*args: Tensor) -> Iterator[elastic_net_path.Step]:
        for fit in path(*args):
            steps[0] += 1
            yield fit

    path = elastic_net_path.path
    monkeypatch.setattr(elastic_net, "path", counted)
    selections(given, [max(order)])
    alone, steps[0] = steps[0], 0
    assert selections(given, order) == expected
    assert steps[0] == alone


def test_no_difference_between_classes_is_no_path() -> None:
    """The filters vary, but every class sees the same."""
    given = batch(0, images=60)
    given.responses[:] = given.responses[::3].repeat_interleave(3, 0)[:60]
    assert (scores(given, 2) == 0).all()


def test_on_real_responses(real_data: Callable[[str], Path]) -> None:
    """202 classes, 1,280 filters: the first steps are optimal, checked in float64."""
    tensors = load_file(real_data("responses/lite0-tiny202.safetensors"))
    responses, labels = tensors["train_responses"][::4].double().numpy(), tensors["train_labels"][::4].long()
    inputs = reference.standardised(responses)
    for fit in islice(fits(torch.from_numpy(inputs).float(), labels), 3):
        ours = fit.weight.double().numpy()
        slope, by_bias = reference.slopes(inputs, labels.numpy(), ours[:, :-1], ours[:, -1])
        threshold = reference.ALPHA * fit.strength
        pull = slope + fit.strength * (reference.ALPHA * np.sign(ours[:, :-1]) + (1 - reference.ALPHA) * ours[:, :-1])
        wrong = np.where(ours[:, :-1] != 0, abs(pull), np.maximum(0, abs(slope) - threshold))
        assert max(wrong.max(), abs(by_bias).max()) <= 1.1 * elastic_net_path.TOLERANCE * threshold
    assert fit.weight[:, :-1].any(1).sum() > 50
