"""The filters of a run's kept classes chosen anew, so that all of them together use no more than a budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import console
from ..errors import ConfigError
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..exports.plain import plain_network
from ..heads.penalty import fit
from ..networks.head import Head, set_head
from ..selections.budget import check_budget
from ..selections.select import choose, get_strategy, needed
from ._whole import Whole
from .reopen import run_config


def within_budget(whole: Whole, budget: int, seed: int) -> tuple[Whole, dict[str, Any]]:
    """``whole`` with a head of at most ``budget`` different filters for all kept classes, and what was chosen for them.

    As ``ddeep run --budget`` does it, by the run's strategy and k, but on the train images of the kept classes alone:
    they choose together, and the head is fitted to tell them apart. The rows of other classes stay what they were.
    Raises ConfigError for a budget that cannot be had, one class alone, and a run whose filters are of a file.
    """
    document, settings = whole.document, run_config(whole.document)
    if settings.strategy is None:
        raise ConfigError(
            "The run's filters are of a file, so there is no strategy that could choose others. Leave out --budget, or "
            "cut a run that was made with --strategy."
        )
    strategy, k = get_strategy(settings.strategy), document["k"]
    layer = whole.subject.layers([document["layer"]])[0]
    check_budget(budget, k, whole.subject.filters(layer))
    if len(whole.outputs) == 1:
        raise ConfigError(
            f"--budget is for several classes together; one alone has its own {k} filters. Leave it out, or keep more."
        )
    dense = whole.subject.head_at(layer)
    assert dense is not None  # a run that has a network has a head that its layer feeds
    module = plain_network(whole.module, whole.head)
    set_head(module, whole.head, *dense)
    subject = replace(whole, module=module).of_kept()
    evidence = gather(subject, "train", {layer: needed(strategy, [k])}, keep=[layer])[layer]
    selection = choose(strategy, evidence, k, context_at(subject, layer, seed, budget), distinct=settings.distinct)
    kept, mask = list(whole.outputs), selection.mask()
    found: dict[str, Any] = {
        "filters": {name: list(selection.filters[c]) for name, c in zip(whole.classes, kept, strict=True)},
        "distinct": selection.distinct,
        "refit": None,
    }
    head = selection.learned_head(dense) if selection.head is not None else Head(dense.weight * mask, dense.bias)
    rows = Head(head.weight[kept], head.bias[kept])
    if not settings.no_refit:
        own = Head(dense.weight[kept], dense.bias[kept])
        data = evidence.cached_responses()[0], whole.images("train").labels
        options: dict[str, Any] = {"l2": settings.l2, "form": settings.head_form, "device": subject.device}
        ((rows, penalty),) = fit(*data, own, mask[kept][None], seed=seed, **options)
        if penalty.kept != "refit":
            console.warn(penalty.warning())
        found["refit"] = penalty.to_json()
    weight, bias = (part.clone() for part in Head.of(whole.module.get_submodule(whole.head)))  # type: ignore[arg-type]
    weight[kept], bias[kept] = rows
    set_head(module, whole.head, weight, bias)
    return replace(whole, module=module), found
