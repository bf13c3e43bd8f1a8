"""SLDD: a pool of filters chosen one after the other, and the largest weights of an elastic-net head on those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ddeep.plugin import Context, Evidence, HeadForm, K, Scale, Selection

from .elastic_net_path import ALPHA, Fit, Problem, path, solve
from .training_set import TrainingSet, training_set

POOL = 50
ROUGH = 0.05  # of λ: how well a head is fitted before the next filter is chosen
POOL_STRENGTH = 0.1  # of the largest λ


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Selection]:
    """Norrenbrock et al., Take 5: Interpretable image classification with a handful of features, 2022 (SLDD-Model).

    1. A pool of 50 filters (as many as the budget, where there is one; k where that is more): one after the other that
       whose weights, all classes' together, have the steepest loss (longest column of the gradient), each followed by
       a fit. Theirs penalises a filter's weights together; here each by itself, at the tenth of the largest λ that
       theirs has, too.
    2. The elastic-net path of the pool; of the last head with no more than 2k weights a class on average the k·C
       largest are kept, so that classes have k on average. A class left without any gets its largest.

    The learned head is that one; neither it nor the network is trained further, as theirs are.
    """
    data = evidence.derived(training_set, context.seed)
    found = {}
    for k, (fit, pool) in evidence.derived(fits, tuple(map(int, ks)), context.budget, context.seed).items():
        weight = torch.zeros(len(data.present), evidence.filters + 1, dtype=torch.float64)
        if fit is not None:
            weight[:, [*pool.tolist(), -1]] = fit.weight.double().cpu()
        kept = largest(weight[:, :-1].abs(), k)
        found[k] = selection(evidence, data, weight[:, :-1] * kept, weight[:, -1], kept, fit)
    return {k: found[int(k)] for k in ks}


def fits(
    responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], ks: Sequence[int], budget: int | None, seed: int
) -> dict[int, tuple[Fit | None, Int64[Tensor, " m"]]]:
    """For each k the last head of its pool's path with no more than 2k weights a class, and the pool."""
    data = training_set(responses, labels, seed)
    varying = torch.nonzero(data.deviation > 0)[:, 0]
    if len(data.present) < 2 or not len(varying):
        return dict.fromkeys(ks, (None, varying))
    found: dict[int, tuple[Fit | None, Int64[Tensor, " m"]]] = {}
    sizes = {k: max(budget or POOL, k) for k in ks}
    for size in set(sizes.values()):
        chosen = pool(data, size) if size < len(varying) else varying
        own = [k for k in ks if sizes[k] == size]
        found.update({k: (fit, chosen) for k, fit in last_fits(data, chosen, own).items()})
    return found


def last_fits(data: TrainingSet, chosen: Int64[Tensor, " m"], ks: Sequence[int]) -> dict[int, Fit | None]:
    """For each k the last head of the path over the filters ``chosen`` with no more than 2k weights a class."""
    found: dict[int, Fit | None] = {}
    waiting, last = set(ks), None
    for step in path(data.inputs[:, chosen], data.labels):
        most = int(step.possible.sum()) / (2 * len(data.present))
        if last is not None and most > min(waiting):
            weights = int((step.fit().weight[:, :-1] != 0).sum()) / (2 * len(data.present))
            done = {k for k in waiting if weights > k}
            found.update(dict.fromkeys(done, last.fit() if done else None))
            waiting -= done
            if not waiting:
                return found
        last = step
    return found | dict.fromkeys(waiting, last.fit() if last is not None else None)


def pool(data: TrainingSet, size: int) -> Int64[Tensor, " n"]:
    """The filters of the pool, in ascending order."""
    whole = Problem.of(data.inputs, data.labels)
    weight = whole.start()
    slope = whole.at(weight).slope[:, :-1]
    strength = POOL_STRENGTH * slope.abs().max().item() / ALPHA
    chosen: list[int] = []
    while len(chosen) < size:
        steepness = slope.norm(dim=0)
        steepness[chosen] = -1.0
        chosen.append(int(steepness.argmax()))
        columns = torch.tensor([*chosen, len(steepness)])
        part = whole.among(columns)
        point = solve(
            part, part.at(weight[:, columns]), strength, torch.ones_like(weight[:, columns], dtype=torch.bool), ROUGH
        )
        weight[:, columns] = point.weight
        slope = whole.at(weight).slope[:, :-1]
    return torch.tensor(sorted(chosen))


def largest(size: Float[Tensor, "p k"], k: int) -> Bool[Tensor, "p k"]:
    """The k·P largest of all, and the largest of every class."""
    kept = torch.zeros_like(size, dtype=torch.bool)
    kept.view(-1)[size.flatten().argsort(descending=True, stable=True)[: k * len(size)]] = True
    kept &= size > 0
    return kept.scatter(1, size.argmax(1, keepdim=True), True)


def selection(
    evidence: Evidence,
    data: TrainingSet,
    weight: Float[Tensor, "p k"],
    bias: Float[Tensor, " p"],
    kept: Bool[Tensor, "p k"],
    fit: Fit | None,
    form: HeadForm = "real",
) -> Selection:
    """Each class's ``kept`` filters, the widest weights first, with the head for responses as they are."""
    filters: list[list[int]] = [[] for _ in range(evidence.classes)]
    scores: list[list[float]] = [[] for _ in range(evidence.classes)]
    for c, row, used in zip(data.present.tolist(), weight.abs(), kept, strict=True):
        own = torch.nonzero(used)[:, 0]
        own = own[row[own].argsort(descending=True, stable=True)]
        filters[c], scores[c] = own.tolist(), row[own].tolist()
    absent = [c for c in range(evidence.classes) if not filters[c]]
    found = Selection.of(filters, evidence.filters, scores=scores, absent=absent)
    dense = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
    dense[data.present] = weight
    offset = torch.zeros(evidence.classes, dtype=torch.float64)
    offset[data.present] = bias
    source = {} if fit is None else {"strength": fit.strength, "residual": fit.residual}
    return replace(found.with_head(*Scale(data.mean, data.deviation).raw(dense, offset), form), source=source)
