"""Compare strategies: every one with every k, at every layer of every checkpoint, from one pass a split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from ..data.images import Split
from ..errors import ConfigError
from ..evidence import processes
from ..evidence.evidence import Evidence
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..heads.paired import accuracy_intervals
from ..networks.layer import Layer
from ..provenance import Timings
from ..registry.registry import registry
from ..registry.specs import MetricSpec, StrategySpec
from ..selections.budget import check_budget
from ..selections.k import K
from ..selections.measure import SplitEvidence, compared, keeps
from ..selections.measure import needed as needed_by_metrics
from ..selections.select import get_strategy
from ..statistics.basic import Correct
from ..statistics.statistic import Statistic
from ._compare_layer import Candidate, Skipped, compare_cells, find_candidates, select_all
from .opening import open_subject, provenance_of
from .settings import ALL, CompareConfig

SCHEMA = "ddeep.comparison/1"


def run_comparison(config: CompareConfig, own: Subject | None = None) -> dict[str, Any]:
    """The document of ``ddeep compare``: ``rows``, best first within each k, ``null``, ``agreement``, ``skipped``."""
    timings = Timings()
    subjects = config.subjects()
    if len(subjects) > 1 and processes.world() > 1:
        raise ConfigError("Several processes compare one checkpoint at a time: give one --weights.")
    specs = _strategies(config.strategies)
    document: dict[str, Any] = {"schema": SCHEMA, "model": None, "dataset": None, "k": list(config.k)}
    document["budget"] = list(config.budget)
    document.update({name: [] for name in ("networks", "rows", "null", "agreement", "skipped")})
    for settings in subjects:
        with timings.phase("load"):
            subject = own or open_subject(settings)
        document["model"], document["dataset"] = subject.network.name, subject.dataset
        document["k"] = document["k"] or [subject.network.k]
        for name, found in _compare_network(subject, specs, document["k"], config, timings).items():
            document[name] += found
    if not document["rows"]:
        reasons = "; ".join(f"{row['strategy']}: {row['reason']}" for row in document["skipped"][:5])
        raise ConfigError(f"There is nothing to compare. {reasons}")
    return {
        **document,
        "timings": {name: round(seconds, 3) for name, seconds in timings.seconds.items()},
        "config": config.model_dump(mode="json", exclude={"out"}),
        **{key: value for key, value in provenance_of(subject).items() if key != "hashes"},
    }


def _strategies(names: Sequence[str]) -> list[StrategySpec]:
    """The specs that names stand for, ``all`` for every one, strangers' included."""
    if ALL not in names:
        return [get_strategy(name) for name in names]
    return [get_strategy(name) for name in registry().strategies]


def _compare_network(
    subject: Subject, specs: Sequence[StrategySpec], ks: Sequence[K], config: CompareConfig, timings: Timings
) -> dict[str, list[dict[str, Any]]]:
    """One checkpoint's part of the document."""
    budgets = config.budget or (None,)
    with timings.phase("load"):
        layers = subject.layers(config.layers)
        for budget, k in product(budgets, ks):
            check_budget(budget, k, max(map(subject.filters, layers)))
        tolerant = ALL in config.strategies or len(layers) > 1
        contexts = {layer: context_at(subject, layer, config.seed) for layer in layers}
        skipped = {layer: Skipped(tolerant) for layer in layers}
        found = {
            layer: find_candidates(specs, ks, subject.filters(layer), contexts[layer], skipped[layer], budgets)
            for layer in layers
        }
    candidates = {layer: chosen for layer, (chosen, _) in found.items()}
    metrics = compared(config.metrics, reruns=not config.no_maps)
    evidence = _gather(subject, {layer: needs for layer, (_, needs) in found.items()}, candidates, metrics, timings)
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in ("rows", "null", "agreement", "skipped")}
    for layer in layers:
        here = {"weights": subject.network.weights, "layer": layer.name}
        with timings.phase("selection"):
            train, able = evidence[layer].train, skipped[layer]
            cells = select_all(candidates[layer], train, contexts[layer], able, budgets, distinct=config.distinct)
        refits: dict[str, Any] = {"refit": not config.no_refit, "l2": config.l2, "form": config.head_form}
        result = compare_cells(cells, evidence[layer], contexts[layer], timings, **refits, metrics=metrics)
        result["skipped"] = skipped[layer].rows()
        result["rows"].sort(key=lambda row: (ks.index(row["k"]), budgets.index(row["budget"]), *_worse(row)))
        for name, rows in result.items():
            parts[name] += [{**here, **row} for row in rows]
    return {"networks": [_describe(subject, evidence, contexts)], **parts}


def _worse(row: dict[str, Any]) -> tuple[float, float]:
    """Sorts the best first: by the accuracy after the refit, then by that before it."""
    return -(row["refit"] or 0.0), -(row["decomposed"] or 0.0)


def _gather(
    subject: Subject,
    statistics: dict[Layer, list[Statistic]],
    candidates: dict[Layer, list[Candidate]],
    metrics: Sequence[MetricSpec],
    timings: Timings,
) -> dict[Layer, SplitEvidence]:
    """Both splits' evidence, in one pass each; responses where heads or learned strategies take them."""
    found: dict[Split, dict[Layer, Evidence]] = {}
    phases: dict[Split, str] = {"train": "evidence", "test": "test"}
    for split, phase in phases.items():
        requests: dict[Layer, list[Statistic]] = {}
        for layer in statistics:
            own = statistics[layer] if split == "train" else [Correct()]
            ks = [k for one in candidates[layer] for k in one.ks]
            requests[layer] = [*own, *needed_by_metrics(metrics, split, list(dict.fromkeys(ks)))]
        kept = [layer for layer in requests if subject.head_at(layer) is not None or keeps(metrics, split)]
        if split == "train":
            kept += [layer for layer in requests if any(one.spec.learned for one in candidates[layer])]
        with timings.phase(phase):
            found[split] = gather(subject, split, requests, kept)
    return {layer: SplitEvidence(found["train"][layer], found["test"][layer]) for layer in statistics}


def _describe(subject: Subject, evidence: dict[Layer, SplitEvidence], contexts: dict[Layer, Any]) -> dict[str, Any]:
    """A checkpoint, its layers and its own accuracy."""
    test = next(iter(evidence.values())).of_test()
    right, images = test[Correct()].counts.sum(), int(test.class_counts.sum())
    return {
        "weights": subject.network.weights,
        "hashes": provenance_of(subject)["hashes"],
        "full": 100 * int(right) / images,
        "full_interval": accuracy_intervals(right[None], images)[0].tolist(),
        "images": {split: len(images) for split, images in subject.images.items()},
        "layers": [
            {"layer": layer.name, "filters": split.train.filters, "feeds_head": contexts[layer].head is not None}
            for layer, split in evidence.items()
        ],
    }
