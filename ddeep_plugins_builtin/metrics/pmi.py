"""Pairwise mutual information of the classes' selections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ddeep.plugin import Context, K, Selection, SplitEvidence, Statistic, TopCounts

CELLS = 2**22  # numbers of a block of pairs at once


def mutual_information(members: Bool[Tensor, "p k"]) -> Float[Tensor, "p p"]:
    """Mutual information (nats) of every pair of 0/1 membership vectors, in closed form from their overlaps."""
    filters = members.shape[1]
    both = members.double() @ members.double().T
    size = both.diagonal()
    inside, outside = size, filters - size
    # The four cells of each pair's 2 × 2 table: how many filters, and the two margins.
    cells = (
        (both, inside, inside),
        (size[:, None] - both, inside, outside),
        (size[None, :] - both, outside, inside),
        (filters - size[:, None] - size[None, :] + both, outside, outside),
    )
    total = torch.zeros_like(both)
    for joint, mine, theirs in cells:
        expected = (mine[:, None] * theirs[None, :]).clamp(min=1)  # 0 only where the joint is 0, and 0·log 0 = 0
        total += torch.where(joint > 0, joint / filters * torch.log(joint.clamp(min=1) * filters / expected), 0.0)
    return total.clamp(min=0)


def entropies(vectors: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """H(v) in nats as the authors compute it: 1e-7 added to all of v where any of it is 0, then v / Σv."""
    vectors = torch.where((vectors == 0).any(-1, keepdim=True), vectors + 1e-7, vectors)
    return torch.special.entr(vectors / vectors.sum(-1, keepdim=True)).sum(-1)


def entropy_information(counts: Float[Tensor, "p k"]) -> dict[str, float]:
    """The authors' two variants from the classes' top-k counts, mean over ordered pairs of different classes."""
    return {"frequency": frequency_information(counts), "support": support_information(counts)}


def frequency_information(counts: Float[Tensor, "p k"]) -> float:
    """H(p_a) + H(p_b) − H(p_a + p_b), p the counts over their sum. Takes C²K logarithms, in blocks that fit."""
    shares = counts / counts.sum(1, keepdim=True)
    own, total, classes = entropies(shares), 0.0, len(counts)
    for rows in torch.arange(classes).split(max(1, CELLS // counts.numel())):  # type: ignore[no-untyped-call]
        later = slice(int(rows[0]), classes)  # the others are the same pairs the other way round
        joint = entropies(shares[rows, None] + shares[later])
        total += (own[rows, None] + own[later] - joint).triu(1).sum().item()
    return 2 * total / (classes * (classes - 1))


def support_information(counts: Float[Tensor, "p k"]) -> float:
    """The same of the 0/1 vectors [count > 0], the joint being OR: entropies depend on the number of ones alone."""
    classes, filters = counts.shape
    support = (counts > 0).double()
    both = support @ support.T
    size = both.diagonal()
    of_size = entropies(torch.ones(filters, filters, dtype=torch.float64).tril())  # of 1, 2, …, K ones
    table = [of_size[ones.long() - 1] for ones in (size[:, None], size, size[:, None] + size - both)]
    return 2 * (table[0] + table[1] - table[2]).triu(1).sum().item() / (classes * (classes - 1))


def needs(split: str, ks: Sequence[K]) -> list[Statistic]:
    return [TopCounts(k) for k in ks if isinstance(k, int)] if split == "train" else []


def measure(
    evidence: SplitEvidence,
    selection: Selection | None,
    context: Context,  # noqa: ARG001
) -> dict[str, float | None]:
    """Mean over ordered pairs of different classes; ``with_self_pairs`` adds the pairs (c, c), as the authors did.

    ``frequency`` and ``support`` are the authors' entropy variants; they take the counts of every image's k largest
    |response|, so they are None where not every class has the k filters that were asked for.
    """
    assert selection is not None
    table = mutual_information(selection.membership())
    classes = len(table)
    between = (table.sum() - table.diagonal().sum()).item()
    variants: dict[str, float] = {}
    counted = evidence.train.statistics.get(TopCounts(selection.size)) if selection.size is not None else None
    if classes > 1 and isinstance(counted, TopCounts):
        variants = entropy_information(counted.counts[evidence.train.present].double())
    return {
        "without_self_pairs": between / (classes * (classes - 1)) if classes > 1 else None,
        "with_self_pairs": table.mean().item() if classes else None,
        "frequency": variants.get("frequency"),
        "support": variants.get("support"),
    }
