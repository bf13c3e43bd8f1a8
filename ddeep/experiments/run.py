"""A validated config in, a result out: the only place that joins the parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import console
from ..data.images import Split
from ..errors import ConfigError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..heads.accuracy import accuracy_by_class, accuracy_percent, predict, right_by_class
from ..heads.bound import lower_bound, objective
from ..heads.decomposed import decompose
from ..heads.final_head import place_final_head
from ..heads.penalty import Penalty, fit
from ..networks.head import Head, set_head
from ..networks.layer import Layer
from ..provenance import Timings
from ..registry.specs import StrategySpec
from ..results.run import FINISHED, RUN_SCHEMA, RunResult
from ..selections.budget import check_budget
from ..selections.form import HeadForm
from ..selections.k import K
from ..selections.measure import SplitEvidence, always_measured, measure
from ..selections.measure import needed as needed_by_metrics
from ..selections.select import check_k, choose, get_strategy
from ..selections.select import needed as needed_by_strategy
from ..selections.selection import Selection
from ..statistics.basic import Correct
from ..statistics.statistic import Statistic
from .opening import open_subject, provenance_of
from .settings import RunConfig


@dataclass(frozen=True)
class Plan:
    """What a run gathers: the statistics of ``layer`` by split, and its responses. And how it selects from them.

    ``given`` is the selection of a file, in place of a ``strategy``.
    """

    subject: Subject
    layer: Layer
    context: Context
    strategy: StrategySpec | None
    k: K
    given: Selection | None
    statistics: dict[Split, list[Statistic]]


def make_plan(config: RunConfig, subject: Subject | None = None) -> Plan:
    """Open what ``config`` names; of each split, what the strategy, the metrics and the accuracies need.

    Whatever can be refused is refused here, before any pass over the images.
    """
    strategy = get_strategy(config.strategy) if config.strategy is not None else None
    subject = subject or open_subject(config)
    layer = _only_layer(subject, config.layer)
    context = context_at(subject, layer, config.seed, config.budget)
    k = config.k if config.k is not None else subject.network.k
    metrics = always_measured()
    filters = subject.filters(layer)
    given = None
    train: list[Statistic] = []
    if strategy is not None:
        check_k(strategy, k, filters)
        check_budget(config.budget, k, filters)
        if strategy.head_only:
            context.needed_head()
        train += needed_by_strategy(strategy, [k])
    elif config.selection is not None:
        given = Selection.load(config.selection, filters, classes=subject.classes)
        if given.source.get("layer", layer.name) != layer.name:
            console.warn(f"{config.selection} was made for layer {given.source['layer']!r}, not {layer.name!r}.")
    ks = [k] if given is None else [given.size] if given.size is not None else []
    train += needed_by_metrics(metrics, "train", ks)
    present = tuple(sorted(set(subject.labels("test").tolist())))
    test = [*needed_by_metrics(metrics, "test", ks), Correct(), Correct(present)]
    return Plan(subject, layer, context, strategy, k, given, {"train": train, "test": test})


def _only_layer(subject: Subject, pattern: str | None) -> Layer:
    layers = subject.layers([pattern] if pattern else [])
    if len(layers) > 1:
        names = ", ".join(layer.name for layer in layers[:5]) + (", …" if len(layers) > 5 else "")
        raise ConfigError(f"--layer {pattern!r} stands for {len(layers)} layers: {names}. A run takes one.")
    return layers[0]


def run(config: RunConfig, subject: Subject | None = None) -> RunResult:
    """The paper's experiment: evidence, selection, decomposed head, metrics, refit.

    On what ``config`` names, or on a ``subject`` that is at hand.
    """
    timings = Timings()
    with timings.phase("load"):
        plan = make_plan(config, subject)
        subject, layer, head = plan.subject, plan.layer, plan.context.head
    evidence = _gather(plan, timings)
    with timings.phase("selection"):
        selection = _select(plan, evidence.train, config.distinct)
    with timings.phase("metrics"):
        k = plan.k if plan.strategy is not None else selection.size
        figures = measure(always_measured(), evidence, selection, plan.context, k)
    test = evidence.of_test()
    right = {"full": test[Correct()].counts}
    present = {"full": test[Correct(_present(test))].counts}
    decomposed = penalty = None
    form: HeadForm = "real"
    bound: dict[str, Any] | None = None
    if head is not None:
        heads = {"decomposed": _decomposed_head(plan, head, selection)}
        if selection.head is not None and _is_of(subject, selection):
            heads["learned"], form = selection.learned_head(head), selection.form
        if not config.no_refit:
            with timings.phase("refit"):
                heads["refit"], penalty = _refit(evidence.train, heads["decomposed"], selection, config, subject.device)
                form = penalty.form
        if penalty is not None and config.bound:
            with timings.phase("bound"):
                bound = _bound(evidence.train, heads["refit"], selection, penalty.l2)
        with timings.phase("decompose"):
            assert subject.network.head is not None
            decomposed = decompose(subject.network.module, selection, head=subject.network.head)
            for name, fitted in heads.items():
                set_head(decomposed, subject.network.head, *fitted)  # the last stays
                right[name] = _right(test, fitted, None, subject.device)
                present[name] = _right(test, fitted, test.present, subject.device)
    else:
        console.note(
            f"Layer {layer.name!r} does not feed the head, so there is no decomposed head here: "
            "selection and metrics only."
        )
    document = {
        "schema": RUN_SCHEMA,
        "status": FINISHED,
        "model": subject.network.name,
        "dataset": subject.dataset,
        "weights": subject.network.weights,
        "layer": layer.name,
        "head": subject.network.head,
        "strategy": config.strategy or selection.source.get("strategy"),
        "k": k,
        "budget": config.budget,
        "distinct_filters": selection.distinct,
        "accuracy": _accuracies(right, test),
        "accuracy_present": _accuracies(present, test),
        "refit": penalty.to_json() if penalty is not None else None,
        "head_form": form if head is not None else None,
        "bound": bound,
        "search": _numbers(selection) if plan.strategy is not None else {},
        "per_class": _per_class(subject, selection, right, test),
        "selection": {name: list(row) for name, row in zip(subject.classes, selection.filters, strict=True)},
        "absent": [subject.classes[c] for c in selection.absent],
        "metrics": figures,
        "timings": {name: round(seconds, 3) for name, seconds in timings.seconds.items()},
        "images": {split: len(images) for split, images in subject.images.items()},
        "preprocessing": subject.network.recipe,
        "config": config.model_dump(mode="json", exclude={"out"}),
        **provenance_of(subject),
    }
    source = {
        **{name: document[name] for name in ("strategy", "k", "budget", "layer")},
        "head": subject.network.head if head is not None else None,
        **_source(subject),
    }
    return RunResult(document, selection.named(subject.classes, **source), decomposed)


def _gather(plan: Plan, timings: Timings) -> SplitEvidence:
    found = {}
    phases: dict[Split, str] = {"train": "evidence", "test": "test"}
    for split, phase in phases.items():
        with timings.phase(phase):
            requests = {plan.layer: plan.statistics[split]}
            found[split] = gather(plan.subject, split, requests, keep=[plan.layer])[plan.layer]
    return SplitEvidence(found["train"], found["test"])


def _present(test: Evidence) -> tuple[int, ...]:
    return tuple(torch.nonzero(test.present)[:, 0].tolist())


def _select(plan: Plan, train: Evidence, distinct: bool) -> Selection:
    if plan.strategy is not None:
        return choose(plan.strategy, train, plan.k, plan.context, distinct=distinct)
    assert plan.given is not None
    return plan.given


def _refit(
    train: Evidence, head: Head, selection: Selection, config: RunConfig, device: torch.device
) -> tuple[Head, Penalty]:
    """The head refitted on the cached train responses, and how its penalty was found."""
    data, masks = train.cached_responses(), selection.mask()[None]
    ((fitted, penalty),) = fit(*data, head, masks, l2=config.l2, seed=config.seed, form=config.head_form, device=device)
    if penalty.kept != "refit":
        console.warn(penalty.warning())
    return fitted, penalty


def _bound(train: Evidence, head: Head, selection: Selection, l2: float) -> dict[str, Any]:
    """The refit's train loss, penalty included, and the least that any head with as many filters a class can have."""
    responses, labels = train.cached_responses()
    sizes = selection.mask().sum(1)
    loss, found = objective(responses, labels, head, l2), lower_bound(responses, labels, head, sizes, l2)
    gap = (loss - found.least) / found.least if found.least > 0 else None
    return {"loss": loss, **found._asdict(), "gap": gap, "l2": l2}


def _numbers(selection: Selection) -> dict[str, int | float]:
    """What the strategy tells of its search."""
    return {name: value for name, value in selection.source.items() if type(value) in (int, float)}


def _decomposed_head(plan: Plan, head: Head, selection: Selection) -> Head:
    """The dense head at the selection; the one that the weights themselves carry for filters given in a file."""
    final = plan.subject.network.final
    if final is not None and plan.given is not None:
        return place_final_head(final, selection, head)
    if final is not None:
        console.note("The weights carry a decomposed head for filters of their own: give those with --selection.")
    return Head(head.weight * selection.mask(), head.bias)


def _is_of(subject: Subject, selection: Selection) -> bool:
    """Whether the learned head is for this network's responses, as far as the selection says where it came from."""
    hashes = selection.source.get("hashes")
    known = hashes.get("weights") if isinstance(hashes, dict) else None
    if known in (None, subject.network.weights_hash):
        return True
    console.note("The selection's learned head was learned with other weights than these, so it is left out.")
    return False


def _right(test: Evidence, head: Head, among: Tensor | None, device: torch.device) -> Int64[Tensor, " c"]:
    """Test images of each class that ``head`` gets right."""
    responses, labels = test.cached_responses()
    return right_by_class(labels, predict(responses, *head, among, device=device), test.classes)


def _accuracies(right: dict[str, Tensor], test: Evidence) -> dict[str, float | None]:
    images = test.class_counts
    return {name: accuracy_percent(right[name], images) if name in right else None for name in _stages(right)}


def _stages(right: dict[str, Tensor]) -> list[str]:
    """What every run names, measured or not; the learned head only where the strategy has learned one."""
    return ["full", "decomposed", *(["learned"] if "learned" in right else []), "refit"]


def _per_class(
    subject: Subject, selection: Selection, right: dict[str, Tensor], test: Evidence
) -> list[dict[str, Any]]:
    columns = {name: accuracy_by_class(hits, test.class_counts) for name, hits in right.items()}
    return [
        {
            "index": c,
            "class": name,
            "images": int(test.class_counts[c]),
            "filters": list(selection.filters[c]),
            **{key: columns[key][c] if key in columns else None for key in _stages(right)},
        }
        for c, name in enumerate(subject.classes)
    ]


def _source(subject: Subject) -> dict[str, Any]:
    """Where a selection came from."""
    return {"model": subject.network.name, "weights": subject.network.weights, **provenance_of(subject)}
