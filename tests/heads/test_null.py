"""The null: random selections, and how accurate their heads are."""

from __future__ import annotations

import pytest
import torch

from ddeep.heads import null
from ddeep.heads.accuracy import predict
from ddeep.heads.null import _permutations, decomposed_right, null_right, p_value, random_masks
from ddeep.networks.head import Head


def test_every_set_of_a_size_is_as_likely() -> None:
    masks = torch.cat([*random_masks([1, 2, 4], None, 4, 6000, torch.Generator().manual_seed(0))])
    assert masks.sum(2).unique(dim=0).tolist() == [[1, 2, 4]]
    pairs = masks[:, 1].double()
    sets = (pairs @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long().bincount(minlength=16)
    likely = [12, 10, 9, 6, 5, 3]
    assert sets[likely].sum() == 6000
    assert sets[likely].sub(1000).abs().max() < 5 * 1000**0.5


def test_with_a_budget_a_draw_is_of_one_pool() -> None:
    masks = torch.cat([*random_masks([1, 2, 4], 2, 4, 6000, torch.Generator().manual_seed(0))])
    assert masks.sum(2).unique(dim=0).tolist() == [[1, 2, 4]]  # the last, say, is absent, and keeps all
    used = masks[:, :2].any(1)
    assert torch.equal(used, masks[:, 1])  # two filters of a pool of two
    pools = (used.double() @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long().bincount(minlength=16)
    likely = [12, 10, 9, 6, 5, 3]
    assert pools[likely].sum() == 6000
    assert pools[likely].sub(1000).abs().max() < 5 * 1000**0.5
    ones = masks[:, 0].double().mean(0)
    assert (ones - 0.25).abs().max() < 5 * (0.25 * 0.75 / 6000) ** 0.5


def test_draws_repeat_with_the_seed() -> None:
    seeds = (1, 1, 2)
    one, same, other = (
        torch.cat([*random_masks([2] * 3, None, 9, 5, torch.Generator().manual_seed(seed))]) for seed in seeds
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_draws_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.cat([*random_masks([2, 3], None, 9, 5, torch.Generator().manual_seed(1))])
    monkeypatch.setattr(null, "TABLES", 40)
    parts = [*random_masks([2, 3], None, 9, 5, torch.Generator().manual_seed(1))]
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), whole)


def test_accuracy_is_that_of_each_head_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    responses = torch.randint(0, 4, (50, 6), generator=generator).float()  # many equal logits
    head = Head(torch.randint(-2, 3, (4, 6), generator=generator).float(), torch.zeros(4))
    labels = torch.randint(0, 4, (50,), generator=generator)
    draws = torch.Generator().manual_seed(5)
    masks = torch.cat([*random_masks([1, 2, 3, 6], None, 6, 7, draws)])
    expected = [int((predict(responses, head.weight * mask, head.bias) == labels).sum()) for mask in masks]
    assert decomposed_right(responses, labels, head, masks).tolist() == expected
    monkeypatch.setattr(null, "TABLES", 48)
    assert null_right(responses, labels, head, [1, 2, 3, 6], None, 7, draws.manual_seed(5)).tolist() == expected


@pytest.mark.parametrize("budget", [None, 4])
def test_classes_that_keep_all_filters_are_computed_once(budget: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent ones, between those that images have: equal logits are common, and the smaller class wins them."""
    generator = torch.Generator().manual_seed(4)
    responses = torch.randint(0, 3, (300, 6), generator=generator).float()
    head = Head(torch.randint(-1, 3, (5, 6), generator=generator).float(), torch.zeros(5))
    labels = torch.tensor([1, 3])[torch.randint(0, 2, (300,), generator=generator)]
    sizes, draws = [6, 2, 6, 3, 6], torch.Generator()
    masks = torch.cat([*random_masks(sizes, budget, 6, 9, draws.manual_seed(5))])
    assert masks.sum(2).unique(dim=0).tolist() == [sizes]
    expected = [int((predict(responses, head.weight * mask, head.bias) == labels).sum()) for mask in masks]
    assert len(set(expected)) > 3
    given: list[int] = []
    right = null.decomposed_right
    monkeypatch.setattr(null, "decomposed_right", lambda *a, **k: given.append(len(a[2].bias)) or right(*a, **k))
    assert null_right(responses, labels, head, sizes, budget, 9, draws.manual_seed(5)).tolist() == expected
    labels[0] = 2  # an image of an absent class
    expected = [int((predict(responses, head.weight * mask, head.bias) == labels).sum()) for mask in masks]
    assert null_right(responses, labels, head, sizes, budget, 9, draws.manual_seed(5)).tolist() == expected
    assert given == [2, 5]


def test_p_values() -> None:
    null = torch.tensor([1, 5, 5, 9])
    assert p_value(10, null) == 1 / 5
    assert p_value(5, null) == 4 / 5
    assert p_value(0, null) == 1


@pytest.mark.parametrize("shape", [(3, 4, 2048), (2, 1), (5, 300)])
def test_orders_are_those_of_a_stable_sort(shape: tuple[int, ...]) -> None:
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(5))
    found = _permutations(shape, torch.Generator().manual_seed(5))
    assert torch.equal(found, drawn.argsort(stable=True, dim=-1))
