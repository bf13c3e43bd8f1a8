"""QPM: a pool of filters for all classes, and k of them for each, by a quadratic program on correlations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSquares, ClassSums, Context, Evidence, K, Scale, Selection, Statistic

from .qpm_bound import SECONDS, exact, lagrangian
from .qpm_problem import Problem, rescaled

POOL = 50
STOPPED = f"qpm: the solver was stopped after {SECONDS:g} seconds; the best found so far is taken, with its bound."


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    """What correlations with membership in a class take."""
    return [ClassSums(), ClassSquares()]


def select(evidence: Evidence, k: K, context: Context) -> Selection:
    """Norrenbrock et al., QPM: Discrete optimization for globally interpretable image classification, ICLR 2025.

    With A the correlations of filters with membership in the classes, over the largest |A|, and R the cosines of the
    rows of A, over the largest, negative ones 0: 50 filters s (as many as the budget, where there is one; k where that
    is more, K where that is fewer) and k of them for each class, W, no two classes alike, that maximise
    1000/(k·C) Σ_jc s_j W_jc A_jc - Σ_{i<j} s_i s_j R'_ij. R' is R above a threshold, see ``rescaled``. The paper's
    third term, the locality of a filter's maps, is left out: no statistic of maps is at hand.

    Theirs is solved by a commercial program. Here, given s, a class's best W is its k largest A, so that the pool alone
    is searched for, by greedy choice and swaps; small programs are solved exactly besides. The source states
    ``objective``, the upper ``bound`` of the best possible, and the ``gap`` between them as a share of the former.

    The learned head is the paper's, before its training: 1 for each filter of a class, on standardised responses.
    """
    correlation, mean, deviation = correlations(evidence)
    present = torch.nonzero(evidence.present)[:, 0]
    table = correlation[present]
    filters, width = evidence.filters, int(k)
    size = min(filters, max(context.budget or POOL, width))
    gain = 1000 / (width * len(present)) * table
    problem = Problem(gain, rescaled(cosines(table), size), width, size)
    pool = problem.pool
    chosen = problem.choose(pool)
    reached = problem.objective(chosen, pool)
    bound = lagrangian(problem, reached)
    solved = exact(problem)
    if solved is not None:
        if solved.stopped:
            warnings.warn(STOPPED, stacklevel=2)
        bound = min(bound, solved.bound)
        if solved.chosen is not None and solved.pool is not None:
            better = problem.objective(solved.chosen, solved.pool)
            if better > reached + 1e-6:
                reached, chosen = better, solved.chosen
    bound = max(bound, reached)  # rounding, where they meet
    source = {"pool": size, "objective": reached, "bound": bound, "gap": (bound - reached) / max(abs(reached), 1e-9)}
    return replace(selection(evidence, table, chosen, mean, deviation), source=source)


def correlations(evidence: Evidence) -> tuple[Float[Tensor, "c k"], Float[Tensor, " k"], Float[Tensor, " k"]]:
    """A, and every filter's mean and standard deviation; 0 for filters that do not vary and absent classes."""
    counts = evidence.class_counts.double()[:, None]
    images = counts.sum()
    sums, squares = evidence[ClassSums()].sums, evidence[ClassSquares()].sums
    mean = sums.sum(0) / images
    variance = squares.sum(0) / images - mean.square()
    deviation = torch.where(variance > 1e-12 * squares.sum(0) / images, variance, 0.0).sqrt()
    share = counts / images
    # Of a 0/1 variable: covariance share·(mean within - mean), variance share·(1 - share).
    found = (sums - counts * mean) / images / ((share * (1 - share)).sqrt() * deviation)
    found = torch.where((deviation > 0) & (share > 0) & (share < 1), found, 0.0)
    largest = found.abs().max()
    return (found / largest if largest > 0 else found), mean, deviation


def cosines(table: Float[Tensor, "p k"]) -> Float[Tensor, "k k"]:
    """R: of filters' correlations with the classes, negative ones 0, over the largest of a pair."""
    length = table.norm(dim=0)
    unit = torch.where(length > 0, table / length, 0.0)
    found = (unit.T @ unit).clamp(min=0).fill_diagonal_(0.0)
    return found / found.max() if found.any() else found


def selection(
    evidence: Evidence,
    table: Float[Tensor, "p k"],
    chosen: Tensor,
    mean: Float[Tensor, " k"],
    deviation: Float[Tensor, " k"],
) -> Selection:
    """The filters chosen, best correlated first, with the binary head on standardised responses."""
    present = torch.nonzero(evidence.present)[:, 0].tolist()
    filters: list[list[int]] = [[] for _ in range(evidence.classes)]
    scores: list[list[float]] = [[] for _ in range(evidence.classes)]
    for c, row, used in zip(present, table, chosen, strict=True):
        own = torch.nonzero(used)[:, 0]
        own = own[row[own].argsort(descending=True, stable=True)]
        filters[c], scores[c] = own.tolist(), row[own].tolist()
    absent = [c for c in range(evidence.classes) if not filters[c]]
    found = Selection.of(filters, evidence.filters, scores=scores, absent=absent)
    weight = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
    weight[present] = chosen.double()
    return found.with_head(*Scale(mean, deviation).raw(weight, torch.zeros_like(weight[:, 0])), "binary")
