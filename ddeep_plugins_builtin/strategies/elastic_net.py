"""The sparse final layer of Wong et al., cut to k filters per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import Context, Evidence, K, Selection

from .elastic_net_path import Fit, path
from .training_set import TrainingSet, training_set


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Selection]:
    """|W_cj|·std_j of the sparsest elastic-net head in which every class has k non-zero weights.

    The head minimises mean cross-entropy + λ Σ(0.99·|w| + 0.005·w²) over w_cj = W_cj·std_j, the weights of standardised
    responses, biases free, for λ falling by a fifth a time from the smallest at which all weights are zero to a
    thousandth of that, or until every class has k. Filters that have not entered by then rank below all that have, by
    how close they are: |gradient|. Wong et al., Leveraging sparse linear layers for debuggable deep networks, ICML
    2021, equation 1 and section 2; in place of their SAGA the solver is ``elastic_net_path``.

    The selection's source states λ and the residual of the optimality conditions, as a share of 0.99·λ.
    """
    data = evidence.derived(training_set, context.seed)
    fits = evidence.derived(fits_for, tuple(map(int, ks)), context.seed)
    return {k: of_fit(fits[int(k)], int(k), evidence, data, context.budget) for k in ks}


def fits_for(
    responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], ks: Sequence[int], seed: int
) -> dict[int, Fit | None]:
    """For each k the first head of the path in which every class has k weights, or the last; None without a path."""
    data = training_set(responses, labels, seed)
    found: dict[int, Fit | None] = dict.fromkeys(ks)
    varying = int((data.deviation > 0).sum())
    if len(data.present) < 2 or not varying:
        return found
    waiting = {k: min(k, varying) for k in ks}
    step = None
    for step in path(data.inputs, data.labels):
        if int(step.possible.sum(1).min()) < min(waiting.values()):
            continue
        fit = step.fit()
        done = [k for k, least in waiting.items() if fit.least >= least]
        found.update(dict.fromkeys(done, fit))
        waiting = {k: least for k, least in waiting.items() if k not in done}
        if not waiting:
            return found
    return found | dict.fromkeys(waiting, step.fit() if step is not None else None)


def of_fit(fit: Fit | None, k: int, evidence: Evidence, data: TrainingSet, budget: int | None) -> Selection:
    """Every class's k largest weights, within the budget."""
    scores = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
    if fit is None:
        return Selection.top(scores, k, present=evidence.present, budget=budget)
    scores[data.present] = ranks(fit).double().cpu()
    chosen = Selection.top(scores, k, present=evidence.present, budget=budget)
    return replace(chosen, source={"strength": fit.strength, "residual": fit.residual})


def ranks(fit: Fit) -> Float[Tensor, "p k"]:
    """|weight|; weights of zero score less than any other, by their slopes."""
    size, slope = fit.weight[:, :-1].abs(), fit.slope[:, :-1].abs()
    least = size[size > 0].min() if size.any() else 1.0
    return torch.where(size > 0, size, slope / slope.max() * least / 2)
