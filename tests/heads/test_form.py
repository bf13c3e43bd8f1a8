"""Heads of few magnitudes: the least of their form, and the form kept while a network is trained through them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ddeep.heads.form import Scale, hold_form, release_form
from ddeep.heads.penalty import fit
from ddeep.heads.refit import refit, refit_all
from ddeep.networks.head import Head
from ddeep.selections.form import FORMS, HeadForm
from tests.reference.head_form import least

QUANTISED: tuple[HeadForm, ...] = ("shared", "ternary", "binary")
L2 = 1e-2


class Made:
    """Responses that tell five classes apart, and a mask of three filters a class; one filter is constant."""

    def __init__(self, images: int = 300, seed: int = 3) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(5, (images,), generator=generator)
        centres = torch.randn(5, 9, generator=generator)
        spread = torch.rand(9, generator=generator) * 3 + 0.2
        self.responses = (centres[self.labels] + torch.randn(images, 9, generator=generator)) * spread + 2
        self.responses[:, 8] = 1.5
        self.dense = Head(torch.randn(5, 9, generator=generator), torch.zeros(5))
        self.mask = torch.zeros(5, 9, dtype=torch.bool)
        for c in range(5):
            self.mask[c, torch.randperm(9, generator=generator)[:3]] = True
        self.real = refit(self.responses, self.labels, *self.dense, self.mask, l2=L2)

    def signs(self, form: HeadForm) -> np.ndarray:
        weight = self.real.head.weight
        signs = torch.where(weight < 0, -1.0, 1.0) if form != "binary" else torch.ones_like(weight)
        return (signs * self.mask).double().numpy()


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


def standardised(head: Head, made: Made) -> torch.Tensor:
    """The weights on standardised filters."""
    return head.weight.double() * Scale.of(made.responses).deviation


@pytest.mark.parametrize("form", QUANTISED)
def test_the_fit_is_the_best_of_its_form(made: Made, form: HeadForm) -> None:
    (found,) = refit_all(
        *(made.responses, made.labels, *made.dense, made.mask[None]), l2=L2, start=[made.real.head], form=form
    )
    expected = least(made.responses.double().numpy(), made.labels.numpy(), made.signs(form), L2, form)
    assert found.loss == pytest.approx(expected, rel=1e-5)
    weights = standardised(found.head, made)
    sizes = [weights[c, made.mask[c] & (torch.arange(9) != 8)].abs() for c in range(5)]
    assert all(torch.allclose(size, size[0].expand_as(size), rtol=1e-4) for size in sizes)
    if form != "shared":
        assert torch.allclose(torch.cat(sizes), sizes[0][0].expand(len(torch.cat(sizes))), rtol=1e-4)
    if form == "binary":
        assert (weights >= 0).all()
        assert torch.allclose(
            made.responses.double().mean(0) @ found.head.weight.double().T, -found.head.bias.double(), atol=1e-4
        )
    assert (found.head.weight[~made.mask] == 0).all()


def test_each_form_is_one_of_the_freer_ones(made: Made) -> None:
    losses = {"real": made.real.loss}
    for form in ("shared", "ternary"):
        losses[form] = refit_all(
            *(made.responses, made.labels, *made.dense, made.mask[None]), l2=L2, start=[made.real.head], form=form
        )[0].loss
    assert losses["real"] < losses["shared"] < losses["ternary"]


def test_several_heads_are_fitted_as_one_by_one_and_classes_without_images_keep_their_rows(made: Made) -> None:
    labels = torch.where(made.labels == 3, 0, made.labels)
    masks = torch.stack([made.mask, torch.ones_like(made.mask)])
    together = fit(made.responses, labels, made.dense, masks, form="ternary")
    alone = fit(made.responses, labels, made.dense, masks[1:], form="ternary")
    for (head, penalty), (other, _) in zip(together[1:], alone, strict=True):
        assert penalty.form == "ternary"
        assert torch.allclose(head.weight, other.weight, atol=1e-4)
    assert torch.equal(together[1][0].weight[3], made.dense.weight[3])


@pytest.mark.parametrize("form", FORMS)
def test_training_changes_no_more_than_the_form_allows(form: HeadForm) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 4)
    before = Head(linear.weight.detach().clone(), linear.bias.detach().clone())
    hold_form(linear, form)
    network = nn.Sequential(nn.Linear(3, 6), linear)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.randn(16, 3)), torch.randint(4, (16,))).backward()
        optimizer.step()
    release_form(linear)
    factors = linear.weight.detach() / before.weight
    assert sorted(dict(linear.named_parameters())) == ["bias", "weight"]
    assert all(parameter.requires_grad for parameter in linear.parameters())
    assert torch.equal(linear.bias.detach(), before.bias) == (form == "binary")
    assert torch.equal(linear.weight.detach(), before.weight) == (form == "binary")
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), atol=1e-5) == (form != "real")
    assert torch.allclose(factors, factors[:1, :1].expand_as(factors), atol=1e-5) == (form in ("ternary", "binary"))
