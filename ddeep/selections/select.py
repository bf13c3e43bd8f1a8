"""Run a strategy on evidence: scores or a choice in, a checked selection out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, SelectionError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..registry.registry import registry
from ..registry.specs import StrategySpec, resolve
from ..statistics.basic import Extremes
from ..statistics.statistic import Statistic
from .budget import check_budget
from .distinct import set_apart
from .k import K
from .selection import Selection

Answer = Float[Tensor, "c k"] | Selection


def get_strategy(name: str) -> StrategySpec:
    """The strategy spec of that name."""
    return registry().find("strategy", name)


def needed(spec: StrategySpec, ks: Sequence[K]) -> list[Statistic]:
    """The statistics that selecting for every k takes."""
    statistics = list(resolve(spec.needs)(list(ks))) if spec.needs is not None else []
    return [*statistics, Extremes()] if spec.non_negative else statistics


def check_k(spec: StrategySpec, k: K, filters: int | None = None) -> None:
    """Raise ConfigError where the strategy cannot take ``k``."""
    if isinstance(k, float) and not spec.fractions:
        raise ConfigError(f"The strategy {spec.name!r} takes a whole number k, not the fraction {k}.")
    if filters is not None and isinstance(k, int) and k > filters:
        raise ConfigError(f"k = {k} filters per class, but the layer has {filters}. Choose k from 1 to {filters}.")


def choose(spec: StrategySpec, evidence: Evidence, k: K, context: Context, *, distinct: bool = False) -> Selection:
    """The strategy's selection for ``k`` filters per class (or the fraction ``k``), within the context's budget.

    See ``choice``.
    """
    return choice(spec, score(spec, evidence, [k], context)[k], evidence, k, context.budget, distinct=distinct)


def score(spec: StrategySpec, evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Answer]:
    """What the strategy answers for the first of ``ks``, and for those of the others that the same work serves.

    An answer is scores of all filters, or the selection itself. The strategy sees the statistics that it declares for
    the k it is asked for, the responses if it is declared ``learned``, and the budget if it keeps to it itself: else
    its answer is the same for every budget.
    """
    for k in ks:
        check_k(spec, k, evidence.filters)
        check_budget(context.budget, k, evidence.filters)
    if not spec.budgets:
        context = replace(context, budget=None)
    if spec.head_only:
        context.needed_head()
    if spec.non_negative and evidence[Extremes()].low.min() < 0:
        raise ConfigError(
            f"The strategy {spec.name!r} is defined for non-negative responses, but layer {evidence.layer.name!r} has "
            "negative ones. Choose a layer after a ReLU, or another strategy: `ddeep list strategies`."
        )
    if spec.select_all is not None:
        limited = evidence.limited(needed(spec, ks), spec.learned)
        found = resolve(spec.select_all)(limited, list(ks), context)
        if not isinstance(found, dict) or not set(ks) <= found.keys():
            raise SelectionError(f"The strategy {spec.name!r} must give a dict with an answer for each of k = {ks}.")
        return {k: _checked(spec, found[k], evidence) for k in ks}
    assert spec.select is not None
    limited = evidence.limited(needed(spec, ks[:1]), spec.learned)
    answer = _checked(spec, resolve(spec.select)(limited, ks[0], context), evidence)
    serves_all = isinstance(answer, Tensor) and not spec.per_k
    return dict.fromkeys(ks if serves_all else ks[:1], answer)


def _checked(spec: StrategySpec, answer: object, evidence: Evidence) -> Answer:
    if isinstance(answer, Tensor):
        if answer.shape != (evidence.classes, evidence.filters):
            raise SelectionError(
                f"The strategy {spec.name!r} gave scores of shape {tuple(answer.shape)}; "
                f"expected (classes, filters) = ({evidence.classes}, {evidence.filters})."
            )
        _require_finite(spec, answer, evidence)
        return answer
    if isinstance(answer, Selection):
        return answer
    raise SelectionError(f"The strategy {spec.name!r} gave a {type(answer).__name__}, not scores or a Selection.")


def _require_finite(spec: StrategySpec, scores: Float[Tensor, "c k"], evidence: Evidence) -> None:
    wrong = (~torch.isfinite(scores)).nonzero()
    if len(wrong):
        c, j = wrong[0].tolist()
        of = "" if evidence.present[c] else ", which has no images"
        raise SelectionError(
            f"The strategy {spec.name!r} gave NaN or infinite scores ({len(wrong)} of {scores.numel()}) at layer "
            f"{evidence.layer.name!r}, first for class {c}{of}, filter {j}. It must score every filter of every class "
            "with a finite number: does it divide by the count of a class without images, or the mean or variance of a "
            "filter that never responds?"
        )


def choice(
    spec: StrategySpec, answer: Answer, evidence: Evidence, k: K, budget: int | None = None, *, distinct: bool = False
) -> Selection:
    """The selection that the answer of a strategy amounts to: the ``k`` filters of every class with the best scores.

    With a ``budget`` they are chosen from a pool (``Selection.top``), unless the strategy keeps to it itself. With
    ``distinct`` no two classes have the same.
    """
    scores = answer if isinstance(answer, Tensor) else None
    found = answer
    if isinstance(found, Tensor):
        limit = None if spec.budgets else budget
        found = Selection.top(found, int(k), present=evidence.present, budget=limit)
    found.check(evidence.classes, evidence.filters)
    if budget is not None and found.distinct > budget:
        hint = "this is its author's mistake" if spec.budgets else "it does not keep to budgets, or does not say so"
        raise SelectionError(
            f"The strategy {spec.name!r} selected {found.distinct} different filters, more than the budget of "
            f"{budget}: {hint}. Choose another strategy, or no budget."
        )
    return set_apart(found, scores, budget) if distinct else found
