"""Pruned-refit: its quadratic model against autograd, what it finds against all selections there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.evidence.context import Context
from ddeep.networks.head import Head
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import pruned_refit
from ddeep_plugins_builtin.strategies.pruned_refit import (
    gains,
    improve,
    prune,
    standardised_head,
    start,
    steepest,
    targets,
    without_least,
)
from ddeep_plugins_builtin.strategies.sparse_head import Objective, SparseHead, fit
from ddeep_plugins_builtin.strategies.training_set import training_set
from tests.reference import pruned_refit as reference
from tests.support.evidence import evidence_of

Problem = tuple[Tensor, Tensor, Tensor]


def problem(seed: int, classes: int = 3, filters: int = 5, images: int = 90) -> Problem:
    """Inputs, soft targets and penalties; filters are correlated, so that choosing one by one errs."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.eye(filters) + 0.6 * torch.randn(filters, filters, generator=generator)
    inputs = torch.randn(images, filters, generator=generator) @ mixing
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    teacher = torch.randn(filters, classes, generator=generator)
    targets = torch.softmax(1.5 * inputs @ teacher, 1)
    return inputs, targets, 1e-3 * torch.rand(filters, generator=generator).double()


def objective_of(given: Problem) -> Objective:
    return Objective.of(given[0], given[1], given[2])


def doubled(given: Problem) -> Problem:
    return given[0].double(), given[1].double(), given[2]


def head_of(given: Problem, k: int) -> SparseHead:
    """A head over each class's first k filters in use."""
    objective = objective_of(given)
    support = torch.zeros(objective.classes, objective.width, dtype=torch.bool)
    support[:, :k] = support[:, -1] = True
    return fit(objective, support, torch.zeros(support.shape, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_loss_gradient_and_curvature_are_autograds(seed: int) -> None:
    given = problem(seed)
    objective = objective_of(given)
    head = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed)).double()
    value, slope = objective.loss_and_gradient(head)
    gradient, hessian = reference.slopes(head, *doubled(given))
    assert value == pytest.approx(reference.objective(head, *doubled(given)).item(), rel=1e-5)
    torch.testing.assert_close(slope.flatten(), gradient, rtol=1e-4, atol=1e-5)
    used = torch.tensor([0, 2, 5, 6, 9, 13, 17])
    torch.testing.assert_close(objective.curvature(head, used), hessian[used][:, used], rtol=1e-4, atol=1e-5)
    between, diagonal = objective.reach(head, used)
    torch.testing.assert_close(between, hessian[used], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(diagonal, hessian.diagonal(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_fit_is_a_minimum(k: int) -> None:
    given = problem(k)
    found = head_of(given, k)
    least, where = reference.minimum(*doubled(given), found.support[:, :-1])
    assert found.loss == pytest.approx(least, abs=1e-6)
    # Biases count by their differences alone.
    torch.testing.assert_close(found.weight[:, :-1], where[:, :-1], rtol=1e-2, atol=1e-2)
    assert (found.weight[~found.support] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_first_weight_pruned_costs_the_quadratic_model_least(seed: int) -> None:
    given = problem(seed)
    head = head_of(given, 2)
    pruned = without_least(head, 1)
    gradient, hessian = reference.slopes(head.weight, *doubled(given))
    values, used, width = head.weight.flatten(), head.used.tolist(), head.objective.width
    allowed = [place for place in used if place % width < width - 1]
    # One after the other, from the same model, until every class has one filter.
    counts = dict.fromkeys(range(3), 2)
    while max(counts.values()) > 1:
        trials = {out: reference.change(gradient * 0, hessian, values, used, out) for out in allowed}
        out = min((out for out in allowed if counts[out // width] > 1), key=lambda place: trials[place][0])
        values = trials[out][1]
        used, allowed = [p for p in used if p != out], [p for p in allowed if p != out]
        counts[out // width] -= 1
    expected = values.view_as(pruned)
    torch.testing.assert_close(pruned[:, :-1], expected[:, :-1], rtol=1e-3, atol=1e-4)
    # Biases count by their differences alone.
    shift = (pruned - expected)[:, -1]
    torch.testing.assert_close(shift - shift.mean(), torch.zeros_like(shift), rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_swap_gains_what_the_quadratic_model_says(seed: int) -> None:
    given = problem(seed)
    head = head_of(given, 2)
    found, used, width = gains(head), head.used.tolist(), head.objective.width
    gradient, hessian = reference.slopes(head.weight, *doubled(given))
    tried = 0
    for row, out in enumerate(used):
        for into in range(head.weight.numel()):
            swap = out % width < width - 1 and into // width == out // width and into not in used
            if not swap:
                assert found[row, into] == -torch.inf
                continue
            cost, _ = reference.change(gradient, hessian, head.weight.flatten(), used, out, into)
            assert found[row, into].item() == pytest.approx(-cost, rel=1e-3, abs=1e-5)
            tried += 1
    assert tried == 3 * 2 * 3


@pytest.mark.parametrize(("classes", "filters", "k"), [(3, 4, 1), (2, 5, 2), (3, 4, 2)])
def test_it_finds_nearly_the_best_of_all_selections(classes: int, filters: int, k: int) -> None:
    """Never worse than each class's k widest weights; among the best tenth, and nearly always the best."""
    firsts = []
    for seed in range(3):
        given = problem(seed, classes, filters)
        objective = objective_of(given)
        whole = fit(objective, torch.ones(classes, filters + 1, dtype=torch.bool), steepest(objective))
        found = improve(prune(start(objective, whole.weight, k), k))
        assert (found.support[:, :-1].sum(1) == k).all()
        widest = torch.zeros(classes, filters).scatter(1, whole.weight[:, :-1].abs().topk(k).indices, 1).bool()
        assert found.loss <= reference.minimum(*doubled(given), widest)[0] + 1e-6
        all_of_them = reference.losses(*doubled(given), k)
        assert found.loss >= all_of_them[0] - 1e-6
        rank = sum(loss < found.loss - 1e-5 for loss in all_of_them)
        assert rank <= len(all_of_them) / 10
        firsts.append(rank == 0)
    assert sum(firsts) >= 2


def batch(seed: int = 0) -> ResponseBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (400,), generator=generator)
    liking = torch.randn(4, 9, generator=generator)
    responses = (liking[labels] + torch.randn(400, 9, generator=generator)).relu()
    return ResponseBatch(responses, labels, torch.arange(400))


def random_head() -> Head:
    generator = torch.Generator().manual_seed(1)
    return Head(torch.randn(4, 9, generator=generator), torch.randn(4, generator=generator))


@pytest.mark.parametrize("with_head", [True, False])
def test_scores_are_the_heads_it_found(with_head: bool) -> None:
    head = random_head() if with_head else None
    found = pruned_refit.select(evidence_of(batch(), [], 4), 3, Context(nn.ReLU(), head))
    assert [len(row) for row in found.filters] == [3] * 4
    assert min(score for row in found.scores for score in row) > 0
    assert (found.head is not None) == with_head  # without a head to put it in nothing is learned for one


def test_its_head_is_the_objectives_minimum_over_the_selection() -> None:
    given, head = batch(), random_head()
    context = Context(nn.ReLU(), head)
    evidence = evidence_of(given, [], 4)
    found = pruned_refit.select(evidence, 3, context)
    data = training_set(evidence, context)
    assert found.head is not None
    weight, bias = found.learned_head(head)
    penalty = pruned_refit.L2 / data.deviation.square()
    wanted = targets(data, standardised_head(data, head))
    least, where = reference.minimum(data.inputs.double(), wanted.double(), penalty, found.mask())
    mine = torch.cat([weight * data.deviation, (bias + weight.double() @ data.mean)[:, None]], 1)
    assert reference.objective(mine, data.inputs.double(), wanted.double(), penalty).item() == pytest.approx(least)
    # Its scores are its weights', and its predictions on responses as they are those of standardised ones.
    scores = torch.zeros(4, 9, dtype=torch.float64)
    for c, (filters, own) in enumerate(zip(found.filters, found.scores, strict=True)):
        scores[c, list(filters)] = torch.tensor(own, dtype=torch.float64)
    torch.testing.assert_close(scores, mine[:, :-1].abs(), rtol=1e-5, atol=1e-7)
    shares = torch.softmax(given.responses @ weight.T + bias, 1)
    expected = torch.softmax(data.inputs.double() @ where[:, :-1].T + where[:, -1], 1)
    torch.testing.assert_close(shares.double(), expected, rtol=0, atol=1e-3)


def test_targets_are_the_networks_predictions_or_the_label_where_those_are_wrong() -> None:
    generator = torch.Generator().manual_seed(2)
    head = Head(torch.randn(4, 9, generator=generator), torch.randn(4, generator=generator))
    given = batch()
    context = Context(nn.ReLU(), head)
    data = training_set(evidence_of(given, [], 4), context)
    found = targets(data, standardised_head(data, head))
    predictions = torch.softmax(given.responses @ head.weight.T + head.bias, 1)
    right = predictions.argmax(1) == given.labels
    assert 0 < right.sum() < 400
    torch.testing.assert_close(found[right], predictions[right], rtol=1e-3, atol=1e-5)
    assert torch.equal(found[~right], nn.functional.one_hot(given.labels, 4).float()[~right])
    assert torch.equal(targets(data, None), nn.functional.one_hot(given.labels, 4).float())


def test_what_would_not_fit_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned_refit, "MOST_WEIGHTS", 10)
    with pytest.raises(ConfigError, match=r"pruned-refit.*no more than 10"):
        pruned_refit.select(evidence_of(batch(), [], 4), 3, Context(nn.ReLU()))
