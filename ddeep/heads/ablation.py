"""Accuracy, knockout and essentiality from cached responses: no forward pass of the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import CPU, exact_device
from ..selections.members import members
from ._right import which_right
from .accuracy import predict, right_by_class

LOGITS = 2**21  # logits of several heads at once: few enough for the processor's cache
TABLE = 2**22  # numbers in a table of images by classes or filters
ROUNDING = 1e-5  # of the numbers that a bound is made of


def knockout(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    *,
    device: torch.device = CPU,
) -> Int64[Tensor, "c k"]:
    """Correct images of every class with each filter's response set to zero, exactly.

    Knocking out filter j changes the logits by −W[:, j]·r_j, so the table needs no forward pass
    (docs/mathematics.md, Knocking out a filter). Most filters cannot turn an image's prediction: only those that might,
    by a bound of N·K numbers, are worked out, at C numbers each.
    """
    device = exact_device(device)
    weight, bias = weight.detach().to(device), bias.detach().to(device)
    classes, filters = weight.shape
    right = torch.zeros(classes, filters, dtype=torch.int64, device=device)
    for rows in torch.split(torch.arange(len(labels)), max(1, TABLE // max(classes, filters))):
        shown, truth = responses[rows].to(device), labels[rows].to(device)
        logits = F.linear(shown, weight, bias)
        hits = logits.argmax(1) == truth
        right.index_add_(0, truth, hits.long()[:, None].expand(-1, filters))
        images, knocked = torch.nonzero(_may_turn(shown, truth, logits, hits, weight), as_tuple=True)
        for some in torch.split(torch.arange(len(images)), max(1, LOGITS // classes)):
            image, j = images[some], knocked[some]
            without = logits[image] - shown[image, j, None] * weight[:, j].T
            change = (without.argmax(1) == truth[image]).long() - hits[image].long()
            right.index_put_((truth[image], j), change, accumulate=True)
    return right.cpu()


def _may_turn(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    logits: Float[Tensor, "n c"],
    hits: Bool[Tensor, " n"],
    weight: Float[Tensor, "c k"],
) -> Bool[Tensor, "n k"]:
    """Filters without which an image might be called right instead of wrong, or the other way round.

    A right image stays so while its lead over the best other class exceeds all that any class can gain on its own; a
    wrong one stays so while its own class does not gain on the predicted one what it lacks.
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    lead, rival = others.max(1)
    lead = own - lead[:, None]
    of_own = weight[labels] * responses
    furthest = torch.where(responses > 0, responses * weight.amin(0), responses * weight.amax(0))
    gain = torch.where(hits[:, None], of_own - furthest, weight[rival] * responses - of_own)
    rounding = ROUNDING * (logits.abs().amax(1, keepdim=True) + gain.abs())
    return (gain >= lead.abs() - rounding) & (responses != 0)


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
    device: torch.device = CPU,
) -> dict[str, Int64[Tensor, "d c"]]:
    """Correct images per class with noise at each image's own class's filters, at all others, and clean.

    ``mask`` holds the selection; returns ``selected`` and ``others`` with one row a draw, and ``clean`` with one row.
    """
    found = essentiality_all(responses, labels, weight, bias, mask[None], draws=draws, seed=seed, device=device)
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
    device: torch.device = CPU,
) -> dict[str, Int64[Tensor, "*hd c"]]:
    """``essentiality`` of many selections under the same noise: ``clean`` ``(C,)``, the others ``(H, draws, C)``.

    Noise at some filters changes the logits by their share of W·(noise − r), and at all others by the rest of it: the
    whole table is gone through once a draw, and each selection adds the filters it has of the image's class. Time grows
    with draws · N · C · (K + H · m), m filters a class; 4·N·K bytes hold a draw.
    """
    heads, classes, filters = masks.shape
    device = exact_device(device)
    weight, bias, masks = weight.detach().to(device), bias.detach().to(device), masks.to(device)
    clean = right_by_class(labels, predict(responses, weight, bias, device=device), classes)
    found = {name: torch.zeros(heads, draws, classes, dtype=torch.int64) for name in ("selected", "others")}
    of_filters, order = weight.T.contiguous(), labels.argsort(stable=True)
    for draw, noise in enumerate(noise_draws((len(labels), filters), draws, seed)):
        for rows in torch.split(order, max(1, LOGITS // classes)):
            own, instead = responses[rows].to(device), noise[rows].to(device)
            logits = [torch.addmm(bias[:, None], weight, some.T) for some in (own, instead)]
            present, counts = torch.unique_consecutive(labels[rows], return_counts=True)
            by_class = zip(
                *(torch.split(part, counts.tolist(), 1) for part in (*logits, (instead - own).T)), strict=True
            )
            for c, (clear, noisy, change) in zip(present.tolist(), by_class, strict=True):
                for name, right in _under_noise(clear, noisy, change, of_filters, masks[:, c], c).items():
                    found[name][:, draw, c] += right.cpu()
    return {"clean": clean, **found}


def _under_noise(
    clear: Float[Tensor, "c n"],
    noisy: Float[Tensor, "c n"],
    change: Float[Tensor, "k n"],
    of_filters: Float[Tensor, "k c"],
    masks: Bool[Tensor, "h k"],
    label: int,
) -> dict[str, Int64[Tensor, " h"]]:
    """Images of one class still right under every mask, from both logits and the change at the filters."""
    filters, used = members(masks)
    truth = torch.full((clear.shape[1],), label, device=clear.device)
    right: dict[str, list[Tensor]] = {"selected": [], "others": []}
    for which in torch.split(torch.arange(len(masks)), max(1, LOGITS // clear.numel())):
        weights = of_filters[filters[which]] * used[which][..., None]
        changed = weights.mT @ change[filters[which]]
        right["selected"].append(which_right(clear + changed, truth).sum(1))
        right["others"].append(which_right(noisy - changed, truth).sum(1))
    return {name: torch.cat(parts) for name, parts in right.items()}
