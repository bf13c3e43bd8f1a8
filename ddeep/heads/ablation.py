"""Accuracy, knockout and essentiality from cached responses: no forward pass of the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .accuracy import CHUNK, confusion, predict

LOGITS = 2**21  # logits of several heads at once: few enough for the processor's cache


def knockout(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
) -> Int64[Tensor, "c k"]:
    """Correct images of every class with each filter's response set to zero, exactly.

    Knocking out filter j changes the logits by −W[:, j]·r_j, so the table needs no forward pass
    (docs/mathematics.md, Knocking out a filter).
    """
    classes, filters = weight.shape
    right = torch.zeros(classes, filters, dtype=torch.int64)
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        logits = F.linear(responses[rows], weight, bias)
        for j in range(filters):
            without = logits - responses[rows, j : j + 1] * weight[:, j]
            hits = (without.argmax(1) == labels[rows]).long()
            right[:, j].index_add_(0, labels[rows], hits)
    return right


def noise_draws(shape: tuple[int, int], draws: int, seed: int) -> Iterator[Float[Tensor, "n k"]]:
    """Independent N(0, 1) noise, reproducible from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        yield torch.randn(shape, generator=generator)


def essentiality(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    mask: Bool[Tensor, "c k"],
    *,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Int64[Tensor, "d c"]]:
    """Correct images per class with noise at each image's own class's filters, at all others, and clean.

    ``mask`` holds the selection; returns ``selected`` and ``others`` with one row a draw, and ``clean`` with one row.
    """
    found = essentiality_all(responses, labels, weight, bias, mask[None], draws=draws, seed=seed)
    return {"clean": found["clean"][None], "selected": found["selected"][0], "others": found["others"][0]}


def essentiality_all(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    masks: Bool[Tensor, "h c k"],
    *,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Int64[Tensor, "*hd c"]]:
    """``essentiality`` of many selections under the same noise: ``clean`` ``(C,)``, the others ``(H, draws, C)``.

    Noise at some filters changes the logits by their share of W·(noise − r), and at all others by the rest of it, so
    both follow from one matrix product for all selections.
    """
    classes, filters = weight.shape
    heads = len(masks)
    clean = confusion(labels, predict(responses, weight, bias), classes).diagonal()
    found = {name: torch.zeros(heads, draws, classes, dtype=torch.int64) for name in ("selected", "others")}
    by_class = [torch.nonzero(labels == c)[:, 0] for c in range(classes)]
    several = max(1, LOGITS // (classes * filters))
    for draw, noise in enumerate(noise_draws((len(labels), filters), draws, seed)):
        for c, own in enumerate(by_class):
            for some in torch.split(torch.arange(heads), several):
                weights = (weight * masks[some, c][:, None]).view(-1, filters)
                for rows in torch.split(own, max(1, LOGITS // len(weights))):
                    logits = F.linear(responses[rows], weight, bias).T
                    noisy = F.linear(noise[rows], weight, bias).T
                    change = (weights @ (noise[rows] - responses[rows]).T).view(len(some), classes, -1)
                    found["selected"][some, draw, c] += ((logits + change).argmax(1) == c).sum(1)
                    found["others"][some, draw, c] += ((noisy - change).argmax(1) == c).sum(1)
    return {"clean": clean, **found}
