"""The refit with its penalty chosen on a part of the train split that it does not see (docs/mathematics.md, Refit)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import CPU, brought, exact_device
from ..networks.head import Head
from ..selections.form import HeadForm
from ._lbfgs import Begun, minimise_on, stacked
from ._narrow import logits_of
from ._objective import HeadProblems, Images
from ._right import which_right
from .refit import L2, groups_of, refit_all

GRID = tuple(10.0**power for power in range(0, -7, -1))  # 1 to 1e-6: each fit starts from that of the larger penalty
PART = 10  # one of so many images of a class is held out
ROUGH, STEPS = 1e-4, 25  # gradient max-norm, or number of steps, at which a fit is good enough to choose by


@dataclass(frozen=True)
class Penalty:
    """How a head was fitted. ``chosen`` says whether ``l2`` was chosen on the ``images`` held out.

    ``refit`` and ``decomposed`` are the percentages of those that the head fitted to the others, and the plain
    decomposed head, get right; ``kept`` is ``"decomposed"`` where the plain one gets more, and stands for the refit.
    In another ``form`` than real a refit is always kept: the plain one has none.
    """

    l2: float
    chosen: bool
    images: int = 0
    refit: float | None = None
    decomposed: float | None = None
    kept: str = "refit"
    form: HeadForm = "real"

    def warning(self) -> str:
        """What to say where the plain head is kept."""
        return (
            f"No refit is better than the decomposed head as it is, on {self.images:,} images of the train split that "
            f"it did not see ({self.refit:.2f} % at best, not {self.decomposed:.2f} %): that one is kept. More images "
            "would help."
        )

    def to_json(self) -> dict[str, Any]:
        """As a document holds it."""
        held_out = {"images": self.images, "refit": self.refit, "decomposed": self.decomposed}
        found = {"l2": self.l2, "chosen": self.chosen, "held_out": held_out if self.chosen else None}
        return {**found, "kept": self.kept, "form": self.form}


def fit(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    dense: Head,
    masks: Bool[Tensor, "h c k"],
    *,
    l2: float | None = None,
    seed: int = 0,
    form: HeadForm = "real",
    device: torch.device = CPU,
) -> list[tuple[Head, Penalty]]:
    """The refitted head of every mask, with the penalty ``l2``, or with one of ``GRID`` of its own.

    That is the one with the most images right in a tenth of every class's, drawn with ``seed``, when fitted to the
    others; among equals the one with the least cross-entropy there. With it, all images are fitted to. Where even that
    one gets fewer of the held-out images right than the decomposed head as it is, this is returned. Smaller penalties
    are not tried once one gets fewer right, at a larger cross-entropy, than the one before.

    In another ``form`` than real, heads are then fitted in it, with the signs and the penalty of those.
    """
    device = exact_device(device)
    responses = brought(responses, device)
    found = _fit_real(responses, labels, dense, masks, l2, seed, device)
    if form == "real":
        return found
    heads, penalties = zip(*found, strict=True)
    refits = refit_all(
        *(responses, labels, *dense, masks),
        l2=[penalty.l2 for penalty in penalties],
        start=heads,
        form=form,
        device=device,
    )
    return [
        (one.head, replace(penalty, kept="refit", form=form)) for one, penalty in zip(refits, penalties, strict=True)
    ]


def _fit_real(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    dense: Head,
    masks: Bool[Tensor, "h c k"],
    l2: float | None,
    seed: int,
    device: torch.device,
) -> list[tuple[Head, Penalty]]:
    held, kept = hold_out(labels, seed)
    if l2 is not None or not len(held):
        penalty = Penalty(L2 if l2 is None else l2, chosen=False)
        found = refit_all(responses, labels, *dense, masks, l2=penalty.l2, device=device)
        return [(one.head, penalty) for one in found]
    split = _HeldOut(responses, labels, held, kept)
    fitted: dict[int, tuple[Head, Penalty]] = {}
    for group in groups_of(masks, labels):
        fitted |= zip(group, _fit_group(split, dense, masks[group], device), strict=True)
    return [fitted[number] for number in range(len(masks))]


class _HeldOut:
    """The train split, which of its images are ``held`` out and which ``kept``."""

    def __init__(
        self, responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], held: Images, kept: Images
    ) -> None:
        self.responses, self.labels, self.kept = responses, labels, kept
        self.unseen = responses[held], labels[held]


def _fit_group(
    split: _HeldOut, dense: Head, masks: Bool[Tensor, "h c k"], device: torch.device
) -> list[tuple[Head, Penalty]]:
    """Choose every head's penalty, and fit those whose refit is worth it to all images with it."""
    problems = HeadProblems(split.responses, split.labels, *dense, masks, GRID[0], split.kept, device)
    best = _best(problems, _priors(split.labels, dense), split)
    starts = problems.heads(torch.stack([one.packed for one in best]), torch.arange(len(best), device=device))
    plain = [Head(dense.weight * mask, dense.bias) for mask in masks]
    rights = [right for right, _ in _judge(*split.unseen, plain, device)]
    worth = [number for number, (one, right) in enumerate(zip(best, rights, strict=True)) if one.right >= right]
    refits = refit_all(
        *(split.responses, split.labels, *dense, masks[worth]),
        l2=[best[number].l2 for number in worth],
        start=[starts[number] for number in worth],
        device=device,
    )
    heads = {number: one.head for number, one in zip(worth, refits, strict=True)}
    images = len(split.unseen[1])
    return [
        (
            heads.get(number, plain[number]),
            Penalty(
                l2=one.l2,
                chosen=True,
                images=images,
                refit=100 * one.right / images,
                decomposed=100 * right / images,
                kept="refit" if number in heads else "decomposed",
            ),
        )
        for number, (one, right) in enumerate(zip(best, rights, strict=True))
    ]


def _best(problems: HeadProblems, start: Head, split: _HeldOut) -> list[_Tried]:
    """The best of every head's fits, with one penalty of the grid after the other, each begun where the last ended."""
    packed = problems.pack([start] * len(problems.l2))  # close to the minimum under the largest penalty
    which = torch.arange(len(packed), device=packed.device)
    begun = Begun(which, packed, *problems.gradient(packed, which))
    tried: list[list[_Tried]] = [[] for _ in packed]
    for candidate in GRID:
        minima = minimise_on(problems, problems.penalised(begun, candidate), ROUGH, STEPS)
        packed, slopes, losses = stacked(minima)
        judged = _judge(*split.unseen, problems.heads(packed, begun.which), problems.device)
        for number, own, figures in zip(begun.which.tolist(), packed, judged, strict=True):
            tried[number].append(_Tried(candidate, *figures, own))
        latest = [tried[number] for number in begun.which.tolist()]
        on = torch.tensor([len(own) < 2 or not own[-1].worse_than(own[-2]) for own in latest], device=packed.device)
        if not on.any():
            break
        begun = Begun(begun.which[on], packed[on], slopes[on], losses[on])
    return [max(own, key=_Tried.rank) for own in tried]


def _priors(labels: Int64[Tensor, " n"], dense: Head) -> Head:
    """The head of weights 0 that gives each class its share of the images; those without keep their bias.

    Its biases sum to those of ``dense``: no gradient says what all logits have in common, so it stays about there.
    """
    counts = torch.bincount(labels.cpu(), minlength=len(dense.bias))
    bias, present = dense.bias.detach().cpu().clone(), counts > 0
    shares = (counts[present] / len(labels)).log().to(bias.dtype)
    bias[present] = shares - shares.mean() + bias[present].mean()
    return Head(torch.zeros_like(dense.weight, device="cpu"), bias)


@dataclass(frozen=True)
class _Tried:
    """A penalty, and the head fitted with it: held-out images that it gets right, cross-entropy there, parameters."""

    l2: float
    right: int
    loss: float
    packed: Float[Tensor, "p m1"]

    def rank(self) -> tuple[int, float]:
        """The larger, the better."""
        return self.right, -self.loss

    def worse_than(self, other: _Tried) -> bool:
        """By both figures."""
        return self.right < other.right and self.loss > other.loss


def hold_out(labels: Int64[Tensor, " n"], seed: int) -> tuple[Images, Images]:
    """A tenth of every class's images, at least one where it has two, and the others; each in the order given."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]  # class by class
    own = labels[order]
    counts = torch.bincount(labels)
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[own]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order] = place < torch.maximum(counts // PART, (counts > 1).long())[own]
    return torch.nonzero(held)[:, 0], torch.nonzero(~held)[:, 0]


def _judge(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    heads: Sequence[Head],
    device: torch.device,
) -> list[tuple[int, float]]:
    """How many images each head gets right, and the mean cross-entropy."""
    right, loss = torch.zeros(len(heads), dtype=torch.int64), torch.zeros(len(heads), dtype=torch.float64)
    for rows, which, logits in logits_of(heads, responses, device):
        truth = labels[rows].to(device)
        losses = F.cross_entropy(logits, truth.expand(len(which), -1), reduction="none")
        loss[which] += losses.sum(1, dtype=torch.float64).cpu() / len(labels)
        right[which] += which_right(logits, truth).sum(1).cpu()
    return list(zip(right.tolist(), loss.tolist(), strict=True))
