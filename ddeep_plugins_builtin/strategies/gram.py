"""The filters that least squares takes in one after the other, from sums alone: no responses are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSums, Context, Evidence, Gram, K, Statistic

from .joint.omp import matching_pursuit, shared_pursuit

RIDGE = 1e-3  # of the correlations between filters
CONSTANT = 1e-10  # of a filter's mean square: a variance below it is rounding


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums(), Gram()]


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Float[Tensor, "c k"]]:
    """1 / the step at which least squares takes the filter in, 0 beyond the largest k: the same for every k.

    For every class on its own membership in it, 1 or 0, is predicted from standardised responses by ridge regression
    (ridge 0.001 of a filter's variance) on few filters: orthogonal least squares (Chen, Billings & Luo, International
    Journal of Control 50, 1989), from the correlations between filters and those with membership. Constant filters come
    last. The statistics take 8·K·(K + C) bytes, each step C·K·k multiplications.

    With a budget of n, least squares first takes in n filters for all classes at once, those that lower the sum of
    their errors most, and then each class's own from among these.
    """
    sums, products = evidence[ClassSums()].sums, evidence[Gram()].products
    counts = evidence.class_counts.double().to(sums.device)
    mean, squares = sums.sum(0) / counts.sum(), products.diagonal() / counts.sum()
    variance = squares - mean.square()
    scale = torch.where(variance > CONSTANT * squares, variance.rsqrt(), 0.0)
    correlations = (products / counts.sum() - torch.outer(mean, mean)) * torch.outer(scale, scale)
    correlations.diagonal().add_(RIDGE)
    with_membership = (sums - counts[:, None] * mean) * scale / counts.sum()
    pool = torch.arange(evidence.filters, device=sums.device)
    if context.budget is not None:
        pool = shared_pursuit(correlations, with_membership, context.budget).sort().values
    order = matching_pursuit(correlations[pool][:, pool], with_membership[:, pool], max(map(int, ks)))
    steps = torch.arange(1, order.shape[1] + 1, dtype=torch.float64, device=order.device)
    return dict.fromkeys(ks, torch.zeros_like(sums).scatter(1, pool[order], (1 / steps).expand(order.shape)))
