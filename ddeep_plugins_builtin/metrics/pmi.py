"""Pairwise mutual information of the classes' selections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ddeep.plugin import Context, K, Selection, SplitEvidence, Statistic, TopCounts

CELLS = 2**22  # numbers of a block of pairs at once
LOGARITHMS = 2**34  # classes² × filters


def mutual_information(members: Bool[Tensor, "p k"], others: Bool[Tensor, "o k"] | None = None) -> Float[Tensor, "p o"]:
    """Mutual information (nats) of every pair of 0/1 membership vectors, in closed form from their overlaps.

    Of all pairs of ``members``, or of each with each of ``others``.
    """
    others = members if others is None else others
    filters = members.shape[1]
    both = (members.float() @ others.float().T).double()  # whole numbers, exact
    mine, theirs = members.sum(1)[:, None].double(), others.sum(1)[None, :].double()
    # The four cells of each pair's 2 × 2 table: how many filters, and the two margins.
    cells = (
        (both, mine, theirs),
        (mine - both, mine, filters - theirs),
        (theirs - both, filters - mine, theirs),
        (filters - mine - theirs + both, filters - mine, filters - theirs),
    )
    total = torch.zeros_like(both)
    for joint, first, second in cells:
        expected = (first * second).clamp(min=1)  # 0 only where the joint is 0, and 0·log 0 = 0
        total += torch.where(joint > 0, joint / filters * torch.log(joint.clamp(min=1) * filters / expected), 0.0)
    return total.clamp(min=0)


def sum_information(members: Bool[Tensor, "p k"]) -> tuple[float, float]:
    """Sums of ``mutual_information`` over pairs of different classes and over the pairs (c, c), a block at a time."""
    total, own = 0.0, 0.0
    for first, rows in enumerate(torch.split(members, max(1, CELLS // len(members)))):
        table = mutual_information(rows, members)
        diagonal = table.diagonal(first * max(1, CELLS // len(members))).sum().item()
        total, own = total + table.sum().item() - diagonal, own + diagonal
    return total, own


def entropies(vectors: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """H(v) in nats as the authors compute it: 1e-7 added to all of v where any of it is 0, then v / Σv."""
    vectors = torch.where((vectors == 0).any(-1, keepdim=True), vectors + 1e-7, vectors)
    return torch.special.entr(vectors / vectors.sum(-1, keepdim=True)).sum(-1)


def entropy_information(counts: Float[Tensor, "p k"]) -> dict[str, float]:
    """The authors' two variants from the classes' top-k counts, mean over ordered pairs of different classes.

    Neither beyond ``LOGARITHMS``, which take a minute or two.
    """
    if len(counts) * counts.numel() > LOGARITHMS:
        return {}
    return {"frequency": frequency_information(counts), "support": support_information(counts)}


def frequency_information(counts: Float[Tensor, "p k"]) -> float:
    """H(p_a) + H(p_b) − H(p_a + p_b), p the counts over their sum. Takes C²K logarithms, in blocks that fit."""
    shares = counts / counts.sum(1, keepdim=True)
    own, total, classes = entropies(shares), 0.0, len(counts)
    for rows in torch.split(torch.arange(classes), max(1, CELLS // counts.numel())):
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


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> dict[str, float | None]:
    """Mean over ordered pairs of different classes; ``with_self_pairs`` adds the pairs (c, c), as the authors did.

    ``frequency`` and ``support`` are the authors' entropy variants; they take the counts of every image's k largest
    |response|, so they are None where not every class has the k filters that were asked for, and where they would take
    minutes: beyond some 2,800 classes of 2,048 filters.
    """
    assert selection is not None
    return measure_all(evidence, [selection], context)[0]


def measure_all(
    evidence: SplitEvidence,
    selections: Sequence[Selection],
    context: Context,  # noqa: ARG001
) -> list[dict[str, float | None]]:
    """Of every selection; the authors' variants, the same for all of one size, are computed once."""
    variants: dict[int | None, dict[str, float]] = {}
    present = evidence.train.present
    for size in {selection.size for selection in selections}:
        counted = evidence.train.statistics.get(TopCounts(size)) if size is not None else None
        if isinstance(counted, TopCounts) and int(present.sum()) > 1:
            variants[size] = entropy_information(counted.counts[present].double())
    return [_figures(selection.membership(), variants.get(selection.size, {})) for selection in selections]


def _figures(members: Bool[Tensor, "p k"], variants: dict[str, float]) -> dict[str, float | None]:
    classes = len(members)
    between, own = sum_information(members) if classes else (0.0, 0.0)
    return {
        "without_self_pairs": between / (classes * (classes - 1)) if classes > 1 else None,
        "with_self_pairs": (between + own) / classes**2 if classes else None,
        "frequency": variants.get("frequency"),
        "support": variants.get("support"),
    }
