"""ddeep's own strategy: k filters per class chosen jointly, so that the decomposed head as a whole fits best."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import Context, Evidence, Head, K, Selection

from .joint.fit import EXACT, SparseHead, fit
from .joint.objective import Objective
from .joint.omp import matching_pursuit
from .joint.prune import prune
from .joint.standardised import Standardised, gram_matrix, label_moments, standardise
from .joint.swaps import improve

WIDEST = 16  # filters per class to start pruning from, or half as many again as asked for
RIDGE = 1e-3  # of the Gram matrix of standardised responses
SELECTING, FITTING = 1.0, 0.1  # penalty, in units of 1 / images per class


def select(evidence: Evidence, k: K, context: Context) -> Selection:
    """By |W_cj|·std_j of the sparse head found, which is the learned head; filters that it does not use score 0."""
    data = standardise(*evidence.cached_responses())
    varying = int((~data.constant).sum())
    scores = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64, device=data.columns.device)
    if len(data.present) < 2 or not varying:
        return Selection.top(scores, int(k), present=evidence.present)
    head = joint_head(data, min(int(k), varying))
    weight = torch.zeros(len(data.present), evidence.filters + 1, dtype=torch.float64, device=scores.device)
    weight.scatter_(1, head.support, head.weight)
    scores[data.present] = weight[:, :-1].abs()
    chosen = Selection.top(scores, int(k), present=evidence.present)
    return chosen if context.head is None else chosen.with_head(*head_of(weight, evidence, data))


def joint_head(data: Standardised, k: int) -> SparseHead:
    """The best head found with k filters a class: of two starts, improved by swaps, that of the lower train loss."""
    classes = len(data.present)
    per_class = len(data.labels) / classes
    objective = Objective(data.columns, label_moments(data.columns, data.labels, classes), SELECTING / per_class)
    width = min(objective.filters, max(WIDEST, k + k // 2))
    gram = gram_matrix(data.columns)
    gram.diagonal().add_(RIDGE)
    path = matching_pursuit(gram, objective.moments[:, :-1].contiguous(), width)
    starts = [started(objective, path[:, :k]), prune(started(objective, path), k)]
    best = min(map(improve, starts), key=lambda head: head.loss)
    final = Objective(objective.columns, objective.moments, FITTING / per_class)
    return fit(final, best.support, best.weight, EXACT)


def started(objective: Objective, filters: Int64[Tensor, "c m"]) -> SparseHead:
    """The head over ``filters``, fitted from one that predicts the classes' shares."""
    ones = torch.full_like(filters[:, :1], objective.filters)
    weight = torch.zeros(filters.shape, dtype=torch.float64, device=filters.device)
    bias = objective.moments[:, -1:].log()
    return fit(objective, torch.cat([filters, ones], 1), torch.cat([weight, bias], 1))


def head_of(table: Float[Tensor, "p k1"], evidence: Evidence, data: Standardised) -> Head:
    """The head for responses as they are that ``table`` is for standardised ones."""
    weight = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64, device=table.device)
    bias = torch.zeros(evidence.classes, dtype=torch.float64, device=table.device)
    weight[data.present] = torch.where(data.constant, 0.0, table[:, :-1] / data.deviation)
    bias[data.present] = table[:, -1] - weight[data.present] @ data.mean
    return Head(weight, bias)
