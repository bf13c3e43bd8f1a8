"""Accuracy, knockout and essentiality from responses alone: the same as running the head anew."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.heads import _narrow, ablation
from ddeep.heads.ablation import essentiality, essentiality_all, knockout, noise_draws
from ddeep.heads.accuracy import accuracy_by_class, accuracy_percent, confusion, predict, right_by_class
from ddeep.selections.selection import Selection
from tests.reference import essentiality as reference_essentiality
from tests.reference import knockout as reference_knockout
from tests.support.effort import examples
from tests.support.toys import CLASSES, FILTERS, pictures, pooled, toy

CHOSEN = [{0, 3}, {5}, {2, 1, 4}, {3}]


def network(seed: int = 0, images: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Responses, labels, weight and bias, with values on a grid so that logits are exact in any order of sums."""
    generator = torch.Generator().manual_seed(seed)

    def grid(*shape: int) -> Tensor:
        return torch.randint(-64, 65, shape, generator=generator) / 32

    labels = torch.randint(0, CLASSES, (images,), generator=generator)
    return grid(images, FILTERS), labels, grid(CLASSES, FILTERS), grid(CLASSES)


@given(seed=st.integers(0, 999))
@examples(15)
def test_knockout_is_the_head_run_anew(seed: int) -> None:
    responses, labels, weight, bias = network(seed)
    found = knockout(responses, labels, weight, bias)
    expected = reference_knockout.knockout(responses.numpy(), labels.numpy(), weight.numpy(), bias.numpy())
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("margin", [0.01, 1.0, 100.0], ids=["close calls", "some", "hardly any"])
def test_knockout_works_out_all_that_may_turn(margin: float) -> None:
    generator = torch.Generator().manual_seed(1)
    responses = torch.randn(300, 9, generator=generator)  # of both signs
    weight, labels = torch.randn(6, 9, generator=generator), torch.randint(0, 6, (300,), generator=generator)
    bias = margin * torch.randn(6, generator=generator)
    found = knockout(responses, labels, weight, bias)
    expected = reference_knockout.knockout(responses.numpy(), labels.numpy(), weight.numpy(), bias.numpy())
    assert found.tolist() == expected.tolist()


def test_knockout_is_the_network_run_anew() -> None:
    module, (images, labels) = toy(), pictures(40)
    found = knockout(pooled(module, images), labels, module.head.weight.detach(), module.head.bias.detach())
    for j in range(FILTERS):
        handle = module.relu.register_forward_hook(
            lambda _m, _i, out, j=j: torch.cat([out[:, :j], torch.zeros_like(out[:, :1]), out[:, j + 1 :]], 1)
        )
        with torch.no_grad():
            right = module(images).argmax(1) == labels
        handle.remove()
        assert found[:, j].tolist() == [int(right[labels == c].sum()) for c in range(CLASSES)]


@given(seed=st.integers(0, 999))
@examples(10)
def test_essentiality_replaces_exactly_the_filters_it_says(seed: int) -> None:
    responses, labels, weight, bias = network(seed, images=30)
    mask = Selection.of(map(sorted, CHOSEN), FILTERS).mask()
    found = essentiality(responses, labels, weight, bias, mask, draws=2, seed=seed)
    arrays = [tensor.numpy().astype("f4") for tensor in (responses, weight, bias)]
    for draw, noise in enumerate(noise_draws((30, FILTERS), 2, seed)):
        for name, at_selected in (("selected", True), ("others", False)):
            expected = reference_essentiality.correct(
                arrays[0], labels.numpy(), arrays[1], arrays[2], CHOSEN, noise.numpy(), at_selected=at_selected
            )
            assert found[name][draw].tolist() == expected
    assert found["clean"].tolist() == [confusion(labels, predict(responses, weight, bias), 4).diagonal().tolist()]


def test_noise_is_normal_independent_and_seeded() -> None:
    one, two = noise_draws((4000, 5), 2, seed=3)
    assert one.mean().abs() < 0.03
    assert (one.std() - 1).abs() < 0.03
    assert (one * two).mean().abs() < 0.03
    assert torch.equal(next(noise_draws((4000, 5), 1, seed=3)), one)
    assert not torch.equal(next(noise_draws((4000, 5), 1, seed=4)), one)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
@examples(20)
def test_confusion_and_accuracies_count(labels: list[int], seed: int) -> None:
    predicted = torch.randint(0, 4, (len(labels),), generator=torch.Generator().manual_seed(seed))
    table = confusion(torch.tensor(labels), predicted, 4)
    pairs = list(zip(labels, predicted.tolist(), strict=True))
    assert table.tolist() == [[pairs.count((c, d)) for d in range(4)] for c in range(4)]
    right, images = right_by_class(torch.tensor(labels), predicted, 4), table.sum(1)
    assert right.tolist() == table.diagonal().tolist()
    assert accuracy_percent(right, images) == pytest.approx(100 * sum(a == b for a, b in pairs) / len(pairs))
    for c, value in enumerate(accuracy_by_class(right, images)):
        own = [b for a, b in pairs if a == c]
        assert value == (pytest.approx(100 * own.count(c) / len(own)) if own else None)


def test_reading_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    responses, labels, weight, bias = network(5)
    whole = predict(responses, weight, bias), knockout(responses, labels, weight, bias)
    monkeypatch.setattr(ablation, "TABLE", 7 * FILTERS)
    monkeypatch.setattr(_narrow, "IMAGES", 7)
    assert torch.equal(predict(responses, weight, bias), whole[0])
    assert torch.equal(knockout(responses, labels, weight, bias), whole[1])


def test_only_the_classes_that_compete_are_predicted() -> None:
    responses, _, weight, bias = network(6)
    among = torch.tensor([False, True, False, True])
    predicted = predict(responses, weight, bias, among)
    logits = responses @ weight.T + bias
    assert predicted.tolist() == [1 if row[1] >= row[3] else 3 for row in logits.tolist()]


@pytest.mark.parametrize("room", [2**21, 20], ids=["at once", "in parts"])
def test_essentiality_of_many_selections_is_that_of_each(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    responses, labels, weight, bias = network(3)
    masks = torch.rand(5, CLASSES, FILTERS, generator=torch.Generator().manual_seed(0)) < 0.5
    alone = [essentiality(responses, labels, weight, bias, mask, draws=2, seed=4) for mask in masks]
    monkeypatch.setattr(ablation, "LOGITS", room)
    found = essentiality_all(responses, labels, weight, bias, masks, draws=2, seed=4)
    for name in ("selected", "others"):
        assert found[name].tolist() == [one[name].tolist() for one in alone]
    assert found["clean"].tolist() == alone[0]["clean"][0].tolist()
