"""The null hypothesis: how accurate the decomposed head is with filters drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.head import Head

LOGITS = 2**21  # logits computed at once: few enough for the processor's cache


def random_masks(sizes: Sequence[int], filters: int, draws: int, generator: torch.Generator) -> Bool[Tensor, "d c k"]:
    """``draws`` selections, each with ``sizes[c]`` of the filters for class c, all such sets being as likely."""
    ranks = torch.rand(draws, len(sizes), filters, generator=generator).argsort(2)
    return ranks < torch.tensor(sizes)[:, None]


def decomposed_right(
    responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], head: Head, masks: Bool[Tensor, "d c k"]
) -> Int64[Tensor, " d"]:
    """Images classified correctly by the decomposed head of every mask, all from one matrix product.

    The class of an image is that of the largest logit, the smaller index among equals.
    """
    draws, classes, filters = masks.shape
    right = torch.zeros(draws, dtype=torch.int64)
    several = max(1, LOGITS // (classes * filters))
    for some in torch.split(torch.arange(draws), several):
        weights = (head.weight * masks[some]).view(-1, filters)
        biases = head.bias.repeat(len(some))[:, None]
        for rows in torch.split(torch.arange(len(labels)), max(1, LOGITS // len(weights))):
            logits = torch.addmm(biases, weights, responses[rows].T).view(len(some), classes, -1)
            right[some] += (logits.argmax(1) == labels[rows]).sum(1)
    return right


def p_value(right: int, null: Int64[Tensor, " d"]) -> float:
    """Share of random selections at least as good, the one at hand counted among them (Phipson & Smyth 2010)."""
    return (1 + int((null >= right).sum())) / (1 + len(null))
