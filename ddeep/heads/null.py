"""The null hypothesis: how accurate the decomposed head is with filters drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import CPU, brought, exact_device
from ..networks.head import Head
from ._narrow import logits_of
from .accuracy import right_all

TABLES = 2**24  # masks held at once: numbers in their tables
PLACE = 32  # bits of a place in a sorting key


def random_masks(
    sizes: Sequence[int], budget: int | None, filters: int, draws: int, generator: torch.Generator
) -> Iterator[Bool[Tensor, "d c k"]]:
    """``draws`` selections in parts, each with ``sizes[c]`` of the filters for class c, all such sets being as likely.

    With a ``budget`` they are of a pool of so many filters, one for each draw, all pools being as likely; but a class
    that keeps all filters, as an absent one does, has all of them. The draws are the same whatever the parts, which
    take 29·``TABLES`` bytes, or those of one draw, at the most.
    """
    wanted = torch.tensor(sizes)
    drawn = wanted < filters
    several = max(1, TABLES // (len(sizes) * filters))
    pools = torch.Generator().manual_seed(generator.initial_seed() + 1)
    for part in range(0, draws, several):
        masks = torch.ones(min(several, draws - part), len(sizes), filters, dtype=torch.bool)
        ranks = _permutations((len(masks), int(drawn.sum()), filters), generator)
        if budget is not None:
            outside = torch.rand(len(masks), filters, generator=pools).argsort(1) >= budget
            ranks = (ranks + filters * outside[:, None]).argsort(2).argsort(2)
        masks[:, drawn] = ranks < wanted[drawn, None]
        yield masks


def _permutations(shape: tuple[int, ...], generator: torch.Generator) -> Int64[Tensor, "*r k"]:
    """Random orders of the last dimension, by numpy's vectorised sort of integers: numbers drawn above their places.

    float32 draws are multiples of 2^-24, so these are the orders of a stable sort of them.
    """
    keys = torch.rand(shape, generator=generator).mul_(2**24).long().bitwise_left_shift_(PLACE)
    keys += torch.arange(shape[-1])
    keys.numpy().sort(axis=-1)
    return keys.bitwise_and_(2**PLACE - 1)


def decomposed_right(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    head: Head,
    masks: Bool[Tensor, "d c k"],
    rival: Float[Tensor, " n"] | None = None,
    *,
    device: torch.device = CPU,
) -> Int64[Tensor, " d"]:
    """Images classified correctly by the decomposed head of every mask.

    The class of an image is that of the largest logit, the smaller index among equals. Where a ``rival`` is given, the
    largest must also be no smaller than that.
    """
    heads = [Head(head.weight * mask, head.bias) for mask in masks]
    return right_all(responses, labels, heads, rival, device=device).sum(1)


def null_right(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    head: Head,
    sizes: Sequence[int],
    budget: int | None,
    draws: int,
    generator: torch.Generator,
    *,
    device: torch.device = CPU,
) -> Int64[Tensor, " d"]:
    """``decomposed_right`` of ``draws`` random selections of these ``sizes`` and ``budget``, a few at once.

    Classes that keep all filters are the same in every draw: their logits are computed once.
    """
    responses = brought(responses, exact_device(device))
    kept = torch.tensor(sizes) == head.weight.shape[1]
    parts = random_masks(sizes, budget, head.weight.shape[1], draws, generator)
    if kept[labels].any() or not kept.any():
        return torch.cat([decomposed_right(responses, labels, head, masks, device=device) for masks in parts])
    drawn, places = Head(head.weight[~kept], head.bias[~kept]), (~kept).cumsum(0) - 1
    rival = _largest(responses, labels, head, kept, device)
    found = [
        decomposed_right(responses, places[labels], drawn, masks[:, ~kept], rival, device=device) for masks in parts
    ]
    return torch.cat(found)


def _largest(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    head: Head,
    kept: Bool[Tensor, " c"],
    device: torch.device,
) -> Float[Tensor, " n"]:
    """What an image's own logit must reach: the largest of the ``kept`` classes, or the next number above it.

    The latter where that class has the smaller index, which wins among equals.
    """
    numbers = torch.nonzero(kept)[:, 0]
    found = torch.empty(len(labels))
    for rows, _, logits in logits_of([Head(head.weight[kept], head.bias[kept])], responses, device):
        largest, first = (one.cpu() for one in logits[0].max(0))
        above = torch.nextafter(largest, torch.tensor(torch.inf))
        found[rows] = torch.where(numbers[first] < labels[rows], above, largest)
    return found


def p_value(right: int, null: Int64[Tensor, " d"]) -> float:
    """Share of random selections at least as good, the one at hand counted among them (Phipson & Smyth 2010)."""
    return (1 + int((null >= right).sum())) / (1 + len(null))
