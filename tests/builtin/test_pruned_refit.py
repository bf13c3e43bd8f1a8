"""Pruned-refit: its quadratic model against autograd, what it finds against all selections there are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import pruned_refit
from ddeep_plugins_builtin.strategies.joint import memory, teacher
from ddeep_plugins_builtin.strategies.joint import problem as joint_problem
from ddeep_plugins_builtin.strategies.joint.fit import SparseHead, fit
from ddeep_plugins_builtin.strategies.joint.objective import Objective
from ddeep_plugins_builtin.strategies.joint.problem import Problem
from ddeep_plugins_builtin.strategies.joint.prune import without_least
from ddeep_plugins_builtin.strategies.joint.standardised import (
    Standardised,
    gram_matrix,
    label_moments,
    standardise,
)
from ddeep_plugins_builtin.strategies.joint.swaps import best_swaps, gains
from tests.reference import pruned_refit as reference
from tests.support.evidence import evidence_of

PENALTY = 1e-2


def problem(seed: int, classes: int = 3, filters: int = 5, images: int = 90) -> Standardised:
    """Responses and labels; filters are correlated, so that choosing one by one errs."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.eye(filters) + 0.6 * torch.randn(filters, filters, generator=generator)
    responses = torch.randn(images, filters, generator=generator) @ mixing
    teacher = torch.randn(filters, classes, generator=generator)
    labels = torch.softmax(1.5 * responses @ teacher, 1).multinomial(1, generator=generator)[:, 0]
    labels[:classes] = torch.arange(classes)
    return standardise(responses, labels)


def objective_of(data: Standardised) -> Objective:
    return Objective(data.columns, label_moments(data), PENALTY)


def as_given(data: Standardised) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and penalties for the reference."""
    inputs = data.columns[:-1].T.double()
    return inputs, F.one_hot(data.labels).double(), torch.full(inputs.shape[1:], PENALTY, dtype=torch.float64)


def first(objective: Objective, k: int) -> SparseHead:
    """A head over each class's first k filters."""
    support = torch.cat([torch.arange(k), torch.tensor([objective.filters])]).expand(objective.classes, k + 1)
    return fit(objective, support.contiguous(), torch.zeros(support.shape, dtype=torch.float64), 1e-5)


def table_of(head: SparseHead) -> Tensor:
    size = (head.objective.classes, head.objective.filters + 1)
    return torch.zeros(size, dtype=torch.float64).scatter(1, head.support, head.weight)


@pytest.mark.parametrize("seed", range(3))
def test_loss_gradient_and_curvature_are_autograds(seed: int) -> None:
    data = problem(seed)
    objective = objective_of(data)
    support = torch.tensor([[0, 3, 5], [4, 1, 5], [2, 0, 5]])
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()
    table = torch.zeros(3, 6, dtype=torch.float64).scatter(1, support, weight)
    gradient, hessian = reference.slopes(table, *as_given(data))
    gradient, own = gradient.view(3, 6), torch.stack([hessian.view(3, 6, 3, 6)[c, :, c] for c in range(3)])
    loss, slope = objective.loss_and_gradient(support, weight)
    assert loss == pytest.approx(reference.objective(table, *as_given(data)).item(), rel=1e-5)
    torch.testing.assert_close(slope, gradient.gather(1, support), rtol=1e-4, atol=1e-6)
    slopes = objective.slopes(support, weight)
    torch.testing.assert_close(slopes.gradient, gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slopes.curvature, own.diagonal(dim1=1, dim2=2), rtol=1e-4, atol=1e-6)
    expected = own.gather(1, support[..., None].expand(3, 3, 6)).gather(2, support[:, None].expand(3, 3, 3))
    torch.testing.assert_close(objective.own_blocks(support, slopes.spread), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_fit_is_a_minimum(k: int) -> None:
    data = problem(k)
    head = first(objective_of(data), k)
    support = torch.zeros(3, 5, dtype=torch.bool)
    support[:, :k] = True
    least, where = reference.minimum(*as_given(data), support)
    assert head.loss == pytest.approx(least, abs=1e-6)
    torch.testing.assert_close(table_of(head)[:, :-1], where[:, :-1], rtol=1e-2, atol=1e-2)


def test_the_teacher_predicts_every_image_from_the_others() -> None:
    data = problem(0)
    inputs = data.columns[:-1].T.double()
    found = teacher.left_out(data, gram_matrix(data))
    expected = reference.left_out(inputs, data.labels, 3, teacher.RIDGE)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    taught = reference.teacher(inputs, data.labels, 3, teacher.RIDGE, teacher.SCALES)
    moments = taught.T @ data.columns.T.double() / len(inputs)
    torch.testing.assert_close(teacher.teacher_moments(data, gram_matrix(data)), moments, rtol=1e-4, atol=1e-5)


def block(head: SparseHead, data: Standardised, c: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class c's part of the gradient, of the Hessian and of the weights."""
    table = table_of(head)
    gradient, hessian = reference.slopes(table, *as_given(data))
    width = table.shape[1]
    own = slice(c * width, (c + 1) * width)
    return gradient[own], hessian[own, own], table[c]


@pytest.mark.parametrize("seed", range(4))
def test_the_weight_pruned_costs_the_quadratic_model_least(seed: int) -> None:
    data = problem(seed)
    head = first(objective_of(data), 3)
    found = without_least(head, 2)
    for c in range(3):
        gradient, hessian, values = block(head, data, c)
        costs = [reference.change(gradient * 0, hessian, values, [0, 1, 2, 5], out)[0] for out in range(3)]
        left = [j for j in range(3) if j != min(range(3), key=costs.__getitem__)]
        assert found.support[c].tolist() == [*left, 5]


@pytest.mark.parametrize("seed", range(3))
def test_a_swap_gains_what_the_quadratic_model_says(seed: int) -> None:
    data = problem(seed)
    head = first(objective_of(data), 2)
    objective, into = head.objective, torch.tensor([[2, 3, 4]] * 3)
    slopes = objective.slopes(head.support, head.weight)
    found = gains(
        objective.own_blocks(head.support, slopes.spread),
        objective.blocks(head.support, into, slopes.spread),
        slopes.curvature.gather(1, into),
        slopes.gradient.gather(1, head.support),
        slopes.gradient.gather(1, into),
        head.weight,
    )
    assert (found[:, -1] == -torch.inf).all()
    best = best_swaps(head)
    for c in range(3):
        gradient, hessian, values = block(head, data, c)
        for out in range(2):
            for place, j in enumerate((2, 3, 4)):
                cost, _ = reference.change(gradient, hessian, values, [0, 1, 5], out, j)
                assert found[c, out, place].item() == pytest.approx(-cost, rel=1e-3, abs=1e-6)
        assert best.gain[c].item() == pytest.approx(found[c].max().item(), rel=1e-6)
        row, column = divmod(int(found[c].argmax()), 3)
        assert (best.place[c].item(), best.into[c].item()) == (row, column + 2)


@pytest.mark.parametrize(("classes", "filters", "k"), [(3, 4, 1), (2, 5, 2), (3, 4, 2)])
def test_it_finds_nearly_the_best_of_all_selections(
    classes: int, filters: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the best tenth, and nearly always the best."""
    firsts = []
    for seed in range(3):
        data = problem(seed, classes, filters)
        per_class = len(data.labels) / classes
        monkeypatch.setattr(joint_problem, "SELECTING", PENALTY * per_class)
        monkeypatch.setattr(joint_problem, "FITTING", PENALTY * per_class)
        monkeypatch.setattr(joint_problem, "TAUGHT", 0.0)
        found = Problem(data).head(k)
        all_of_them = reference.losses(*as_given(data), k)
        assert found.loss >= all_of_them[0] - 1e-6
        rank = sum(loss < found.loss * (1 - 2e-4) for loss in all_of_them)  # less is not worth a swap to it
        assert rank <= len(all_of_them) / 10
        firsts.append(rank == 0)
    assert sum(firsts) >= 2


def batch(seed: int = 0, classes: int = 4, filters: int = 9) -> ResponseBatch:
    """Signed responses of filters that prefer classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (400,), generator=generator)
    liking = torch.randn(classes, filters, generator=generator)
    responses = liking[labels] + torch.randn(400, filters, generator=generator)
    return ResponseBatch(responses, labels, torch.arange(400))


def random_head() -> Head:
    generator = torch.Generator().manual_seed(1)
    return Head(torch.randn(4, 9, generator=generator), torch.randn(4, generator=generator))


def select(evidence: Evidence, k: int, context: Context) -> Selection:
    return pruned_refit.select_all(evidence, [k], context)[k]


def filters_of(given: ResponseBatch, k: int, classes: int = 4) -> list[list[int]]:
    found = select(evidence_of(given, [], classes), k, Context(nn.ReLU()))
    return [list(row) for row in found.filters]


@pytest.mark.parametrize("with_head", [True, False])
def test_scores_are_the_heads_it_found(with_head: bool) -> None:
    head = random_head() if with_head else None
    found = select(evidence_of(batch(), [], 4), 3, Context(nn.ReLU(), head))
    assert [len(row) for row in found.filters] == [3] * 4
    assert min(score for row in found.scores for score in row) > 0
    assert (found.head is not None) == with_head  # without a head to put it in nothing is learned for one


def test_its_head_is_the_minimum_over_the_selection() -> None:
    given, head = batch(), random_head()
    found = select(evidence_of(given, [], 4), 3, Context(nn.ReLU(), head))
    data = standardise(given.responses, given.labels)
    assert found.head is not None
    weight, bias = found.learned_head(head)
    inputs, wanted, _ = as_given(data)
    taught = reference.teacher(inputs, data.labels, 4, teacher.RIDGE, teacher.SCALES)
    wanted = torch.lerp(wanted, taught, joint_problem.TAUGHT)
    penalty = torch.full((9,), joint_problem.FITTING * 4 / 400, dtype=torch.float64)
    least, _ = reference.minimum(inputs, wanted, penalty, found.mask())
    mine = torch.cat([weight * data.deviation, (bias + weight.double() @ data.mean)[:, None]], 1)
    assert reference.objective(mine, inputs, wanted, penalty).item() == pytest.approx(least, rel=1e-3)
    scores = torch.zeros(4, 9, dtype=torch.float64)
    for c, (filters, own) in enumerate(zip(found.filters, found.scores, strict=True)):
        scores[c, list(filters)] = torch.tensor(own, dtype=torch.float64)
    torch.testing.assert_close(scores, mine[:, :-1].abs(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_names_order_and_units_do_not_matter(seed: int) -> None:
    given = batch(seed)
    generator = torch.Generator().manual_seed(seed)
    names, places = torch.randperm(4, generator=generator), torch.randperm(9, generator=generator)
    images, units = torch.randperm(400, generator=generator), torch.rand(9, generator=generator) + 0.1
    other = ResponseBatch((given.responses[:, places] * units - 3)[images], names[given.labels][images], given.indices)
    found = filters_of(given, 3)
    renamed = filters_of(other, 3)
    assert [sorted(places[row].tolist()) for row in (renamed[names[c]] for c in range(4))] == list(map(sorted, found))


def test_constant_filters_come_last_and_absent_classes_have_none() -> None:
    given = batch()
    responses, labels = given.responses.clone(), given.labels.clone()
    responses[:, 3] = 2.5
    labels[labels == 1] = 0
    evidence = evidence_of(replace(given, responses=responses, labels=labels), [], 4)
    found = select(evidence, 9, Context(nn.ReLU(), random_head()))
    assert found.absent == (1,)
    assert found.filters[1] == ()
    assert [row[-1] for row in found.filters if row] == [3] * 3
    few = select(evidence, 8, Context(nn.ReLU(), random_head()))
    assert all(3 not in row for row in few.filters)


def test_one_class_or_no_filter_that_varies_leaves_nothing_to_learn() -> None:
    given = batch()
    for awkward in (
        replace(given, labels=torch.zeros_like(given.labels)),
        replace(given, responses=torch.ones_like(given.responses)),
    ):
        found = select(evidence_of(awkward, [], 4), 2, Context(nn.ReLU(), random_head()))
        assert {row for row in found.filters if row} == {(0, 1)}
        assert found.head is None


def test_several_k_at_once_are_as_each_alone() -> None:
    evidence, context = evidence_of(batch(), [], 4), Context(nn.ReLU(), random_head())
    found = pruned_refit.select_all(evidence, [3, 1, 9], context)
    assert found == {k: select(evidence, k, context) for k in (3, 1, 9)}


def test_what_does_not_fit_in_memory_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = memory.nbytes(400, 9, 4, 9)
    free = type("Free", (), {"available": wanted})
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    select(evidence_of(batch(), [], 4), 3, Context(nn.ReLU()))
    free.available -= 1
    with pytest.raises(ConfigError, match=r"400 images, 4 classes, 9 filters.*`gram`"):
        select(evidence_of(batch(), [], 4), 3, Context(nn.ReLU()))


def test_of_too_many_images_a_random_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch()
    monkeypatch.setattr(memory, "NUMBERS", 300 * (9 + 4 * 4))
    draw = torch.Generator().manual_seed(0)
    responses, labels = memory.sampled(given.responses, given.labels, 4, draw)
    assert responses.shape == (300, 9)
    places = [int((given.responses == row).all(1).nonzero()[0, 0]) for row in responses]
    assert places == sorted(set(places))
    assert torch.equal(labels, given.labels[places])
    select(evidence_of(given, [], 4), 3, Context(nn.ReLU()))
