"""The refit with its penalty chosen on images that it does not see: the best of a grid, and never for the worse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ddeep.heads._lbfgs import Begun
from ddeep.heads._objective import HeadProblems
from ddeep.heads.accuracy import predict
from ddeep.heads.penalty import GRID, fit, hold_out
from ddeep.heads.refit import refit, refit_all
from ddeep.networks.head import Head
from tests.reference.refit import objective
from tests.support.effort import examples


@given(counts=st.lists(st.integers(0, 45), min_size=1, max_size=6), seed=st.integers(0, 99))
@examples(40)
def test_a_tenth_of_every_class_is_held_out(counts: list[int], seed: int) -> None:
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[order]
    held, kept = hold_out(labels, seed)
    assert sorted([*held.tolist(), *kept.tolist()]) == list(range(len(labels)))
    for c, count in enumerate(counts):
        assert int((labels[held] == c).sum()) == (max(count // 10, 1) if count > 1 else 0)
    assert torch.equal(hold_out(labels, seed)[0], held)


class Noisy:
    """Responses of which the first filters tell the classes apart and the others are noise; the true head."""

    def __init__(self, images: int, classes: int = 5, filters: int = 30, noise: float = 1.0, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.zeros(classes, filters)
        centres[:, :classes] = 2 * torch.eye(classes)
        self.labels = torch.arange(images * classes) % classes
        drawn = torch.randn(len(self.labels), filters, generator=generator)
        self.responses = centres[self.labels] + noise * drawn
        self.head = Head(centres / noise**2, -centres.square().sum(1) / (2 * noise**2))  # Bayes's, for such data
        self.mask = torch.ones(classes, filters, dtype=torch.bool)

    def right(self, head: Head) -> int:
        """Images of a head's that are classified correctly."""
        return int((predict(self.responses, *head) == self.labels).sum())


def tried_one_by_one(data: Noisy, mask: Tensor, seed: int) -> list[int]:
    """For each penalty, how many held-out images the head gets right that is fitted, to the end, to the others."""
    held, kept = hold_out(data.labels, seed)
    rights = []
    for l2 in GRID:
        head = refit(data.responses[kept], data.labels[kept], *data.head, mask, l2=l2).head
        rights.append(int((predict(data.responses[held], *head) == data.labels[held]).sum()))
    return rights


@pytest.mark.parametrize("images", [40, 400])
def test_the_penalty_is_the_best_of_the_grid(images: int) -> None:
    data = Noisy(images)
    wrong = Head(data.head.weight.roll(1, 0), data.head.bias)  # loses to any refit
    masks = torch.stack([data.mask, torch.arange(30).expand(5, 30) < 3])
    for (head, penalty), mask in zip(fit(data.responses, data.labels, wrong, masks, seed=1), masks, strict=True):
        rights = tried_one_by_one(data, mask, 1)
        held = len(hold_out(data.labels, 1)[0])
        assert penalty.images == held
        assert penalty.refit == pytest.approx(100 * max(rights) / held, abs=100 / held)  # one image: choosing is rough
        assert penalty.kept == "refit"
        arrays = [tensor.numpy() for tensor in (data.responses, data.labels, head.weight, head.bias, mask)]
        least = refit(data.responses, data.labels, *wrong, mask, l2=penalty.l2).loss
        assert objective(*arrays, penalty.l2) == pytest.approx(least, abs=1e-5)  # fitted to all images in the end


def test_few_images_take_a_larger_penalty_than_many() -> None:
    found = []
    for images in (20, 2000):
        data = Noisy(images, noise=2.0)
        ((_, penalty),) = fit(
            data.responses, data.labels, Head(data.head.weight.roll(1, 0), data.head.bias), data.mask[None]
        )
        found.append(penalty.l2)
    assert found[0] > found[1]


def test_where_no_refit_is_better_the_plain_head_is_kept() -> None:
    """Twenty images of each class, thirty filters: the head that made the data is better than any fitted to so few."""
    data, others = Noisy(20, noise=2.0), Noisy(500, noise=2.0, seed=1)
    kept = 0
    for seed in range(10):
        ((head, penalty),) = fit(data.responses, data.labels, data.head, data.mask[None], seed=seed)
        assert penalty.refit is not None
        assert penalty.decomposed is not None
        assert (penalty.kept == "decomposed") == (penalty.refit < penalty.decomposed)
        if penalty.kept == "decomposed":
            kept += 1
            assert head == Head(data.head.weight * data.mask, data.head.bias)
            assert str(penalty.images) in penalty.warning()
        assert others.right(head) > others.right(
            refit(data.responses, data.labels, *data.head, data.mask, l2=1e-4).head
        )
    assert kept


def test_a_given_penalty_is_taken_as_it_is() -> None:
    data = Noisy(40)
    ((head, penalty),) = fit(data.responses, data.labels, data.head, data.mask[None], l2=1e-4)
    (expected,) = refit_all(data.responses, data.labels, *data.head, data.mask[None], l2=1e-4)
    assert head == expected.head
    assert penalty.to_json() == {"l2": 1e-4, "chosen": False, "held_out": None, "kept": "refit", "form": "real"}


def test_biases_stay_about_where_the_networks_are() -> None:
    data = Noisy(40)
    dense = Head(data.head.weight.roll(1, 0), data.head.bias - 17)  # loses to any refit
    ((head, penalty),) = fit(data.responses, data.labels, dense, data.mask[None])
    assert penalty.kept == "refit"
    assert float(head.bias.mean()) == pytest.approx(float(dense.bias.mean()), abs=1)


def test_one_image_a_class_leaves_none_to_choose_by() -> None:
    data = Noisy(1)
    ((_, penalty),) = fit(data.responses, data.labels, data.head, data.mask[None])
    assert (penalty.l2, penalty.chosen) == (1e-4, False)


def test_a_part_of_the_images_is_as_good_as_a_copy_of_it() -> None:
    data = Noisy(40)
    _, kept = hold_out(data.labels, 0)
    part = HeadProblems(data.responses, data.labels, *data.head, data.mask[None], 1e-4, kept)
    alone = HeadProblems(data.responses[kept], data.labels[kept], *data.head, data.mask[None], 1e-4)
    packed, which = alone.pack([data.head]), torch.zeros(1, dtype=torch.int64)
    torch.testing.assert_close(part.gradient(packed, which), alone.gradient(packed, which), rtol=0, atol=0)


@given(seed=st.integers(0, 99), l2=st.sampled_from([0.0, 1e-6, 0.3]))
@examples(5)
def test_another_penalty_needs_no_image(seed: int, l2: float) -> None:
    data, which = Noisy(20, seed=seed), torch.tensor([2, 0])
    masks = torch.rand(3, *data.mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    problems = HeadProblems(data.responses, data.labels, *data.head, masks, [0.1, 0.2, 0.5])
    packed = problems.pack([data.head] * 3)[which] + 0.1
    begun = problems.penalised(Begun(which, packed, *problems.gradient(packed, which)), l2)
    assert problems.l2.tolist() == [l2, 0.2, l2]
    torch.testing.assert_close((begun.gradient, begun.loss), problems.gradient(packed, which))


def test_every_head_has_a_penalty_of_its_own() -> None:
    data = Noisy(40)
    masks = data.mask.expand(3, -1, -1)
    found = refit_all(data.responses, data.labels, *data.head, masks, l2=[1e-4, 1e-2, 1.0])
    for one, l2 in zip(found, [1e-4, 1e-2, 1.0], strict=True):
        assert one.loss == pytest.approx(
            refit(data.responses, data.labels, *data.head, data.mask, l2=l2).loss, rel=1e-5
        )
