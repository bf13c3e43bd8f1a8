"""Measure layers: metrics of every layer that globs match, in one pass a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import console
from ..data.images import SPLITS, Split
from ..errors import ConfigError
from ..evidence.evidence import Evidence
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..networks.layer import Layer
from ..provenance import Timings
from ..registry.specs import MetricSpec
from ..selections.budget import check_budget
from ..selections.k import K
from ..selections.measure import SplitEvidence, always_measured, get_metric, headline, keeps, measure, offered
from ..selections.measure import needed as needed_by_metrics
from ..selections.select import check_k, choose, get_strategy
from ..selections.select import needed as needed_by_strategy
from ..selections.selection import Selection
from ..statistics.statistic import Statistic
from .opening import open_subject, provenance_of
from .settings import MeasureConfig

SCHEMA = "ddeep.measurement/1"


@dataclass(frozen=True)
class _Plan:
    subject: Subject
    layers: list[Layer]
    metrics: list[MetricSpec]
    strategy: str | None
    k: K
    budget: int | None

    def statistics(self, split: Split) -> list[Statistic]:
        wanted = needed_by_metrics(self.metrics, split, [self.k] if self.strategy is not None else [])
        if split == "train" and self.strategy is not None:
            wanted += needed_by_strategy(get_strategy(self.strategy), [self.k])
        return wanted

    def keeps(self, split: Split) -> bool:
        learned = self.strategy is not None and get_strategy(self.strategy).learned
        return keeps(self.metrics, split) or (learned and split == "train")


def run_measurement(config: MeasureConfig) -> dict[str, Any]:
    """The document of ``ddeep measure``: one row a layer, each metric's figures by name."""
    timings = Timings()
    with timings.phase("load"):
        plan = _plan(config)
    evidence: dict[Split, dict[Layer, Evidence]] = {}
    for split in SPLITS:
        if split == "test" and not (plan.statistics(split) or plan.keeps(split)):
            continue
        with timings.phase("evidence" if split == "train" else "test"):
            requests = {layer: plan.statistics(split) for layer in plan.layers}
            evidence[split] = gather(plan.subject, split, requests, plan.layers if plan.keeps(split) else ())
    with timings.phase("metrics"):
        rows = [_row(plan, layer, evidence, config.seed) for layer in plan.layers]
    return {
        "schema": SCHEMA,
        "model": plan.subject.network.name,
        "dataset": plan.subject.dataset,
        "weights": plan.subject.network.weights,
        "strategy": plan.strategy,
        "k": plan.k if plan.strategy is not None else None,
        "budget": plan.budget,
        "metrics": [spec.name for spec in plan.metrics],
        "classes": list(plan.subject.classes),
        "layers": rows,
        "means": {spec.name: _mean([headline(spec, row[spec.name]) for row in rows]) for spec in plan.metrics},
        "timings": {name: round(seconds, 3) for name, seconds in timings.seconds.items()},
        "config": config.model_dump(mode="json", exclude={"out"}),
        **provenance_of(plan.subject),
    }


def _plan(config: MeasureConfig) -> _Plan:
    names = config.metrics or tuple(spec.name for spec in always_measured())
    if names == ("all",):
        names = tuple(spec.name for spec in offered() if not spec.reruns)
    metrics = [get_metric(name) for name in names]
    of_selections = [spec.name for spec in metrics if spec.of == "selection"]
    if of_selections and config.strategy is None and config.metrics and config.metrics != ("all",):
        raise ConfigError(
            f"The metric {of_selections[0]!r} is of a selection: choose how to select with --strategy (and --k)."
        )
    subject = open_subject(config)
    k = subject.network.k if config.k is None else config.k
    layers = subject.layers(config.layers)
    if config.strategy is not None:  # of several layers, those with too few filters say so in their row
        filters = subject.filters(layers[0]) if len(layers) == 1 else None
        check_k(get_strategy(config.strategy), k, filters)
        check_budget(config.budget, k, filters)
    elif config.budget is not None:
        raise ConfigError("--budget is of a selection: choose how to select with --strategy (and --k).")
    return _Plan(subject, layers, metrics, config.strategy, k, config.budget)


def _row(plan: _Plan, layer: Layer, evidence: dict[Split, dict[Layer, Evidence]], seed: int) -> dict[str, Any]:
    """One layer's figures; a selection that cannot be made there leaves its metrics empty and says why."""
    train, test = evidence["train"][layer], evidence.get("test", {}).get(layer)
    context = context_at(plan.subject, layer, seed, plan.budget)
    selection: Selection | None = None
    note = None
    if plan.strategy is not None:
        try:
            selection = choose(get_strategy(plan.strategy), train, plan.k, context)
        except ConfigError as error:
            if len(plan.layers) == 1:
                raise
            note = str(error)
            console.warn(f"{layer.name}: {error}")
    figures = measure(plan.metrics, SplitEvidence(train, test), selection, context, plan.k)
    named = dict(zip((spec.name for spec in plan.metrics), figures.values(), strict=True))
    return {"layer": layer.name, "filters": train.filters, "note": note, **named}


def _mean(values: list[float | None]) -> float | None:
    """The network's figure: mean over the layers that have one."""
    given = [value for value in values if value is not None]
    return sum(given) / len(given) if given else None
