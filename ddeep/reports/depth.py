"""Metrics of layers over the depth of a network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import nn

from ..data.images import SPLITS, Split
from ..evidence.evidence import Evidence
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..networks.anatomy import describe_layers
from ..networks.layer import Layer, close, get_module
from ..registry.specs import MetricSpec
from ..selections.measure import SplitEvidence, always_measured, headline, keeps, measure, needed

MOST = 24  # layers chosen by themselves
SAME = 1e-6


@dataclass(frozen=True)
class Depth:
    """One layer's figures by metric: one number each, None where a metric is not defined."""

    layer: str
    filters: int
    figures: dict[str, float | None]


def layer_metrics() -> list[MetricSpec]:
    """The metrics that every run shows and that any layer has."""
    return [spec for spec in always_measured() if spec.of == "layer" and not spec.head_only]


def measure_depth(subject: Subject, patterns: list[str] | None = None, seed: int = 0) -> list[Depth]:
    """Every layer metric at several layers, in one pass of each split it reads for those that are not cached.

    ``patterns`` are names or globs; None chooses layers by itself (``spread_layers``), an empty list none.
    """
    layers = spread_layers(subject) if patterns is None else subject.layers(patterns) if patterns else []
    if not layers:
        return []
    specs = layer_metrics()
    found: dict[Split, dict[Layer, Evidence]] = {}
    for split in SPLITS:
        statistics, kept = needed(specs, split), keeps(specs, split)
        if split == "train" or statistics or kept:
            found[split] = gather(subject, split, dict.fromkeys(layers, statistics), layers if kept else ())
    rows = []
    for layer in layers:
        evidence = SplitEvidence(found["train"][layer], found.get("test", {}).get(layer))
        with warnings.catch_warnings(action="ignore"):  # that a metric is not defined somewhere shows as a gap
            figures = measure(specs, evidence, None, context_at(subject, layer, seed))
        numbers = {spec.name: headline(spec, figures[spec.name.replace("-", "_")]) for spec in specs}
        rows.append(Depth(layer.name, evidence.train.filters, numbers))
    return rows


def spread_layers(subject: Subject) -> list[Layer]:
    """At most ``MOST`` layers with positions, spread evenly over the network in the order they finish.

    Layers that hand on the same responses are one: the one that feeds the head, or else the innermost block, stands
    for all. Where a network has activation functions without negative outputs (ReLU), only layers that end in one are
    chosen: there every metric is defined.
    """
    module, own = subject.network.module, subject.network.layer
    names = [row.name for row in describe_layers(subject.recording) if row.axes not in (None, "NC") and not row.problem]
    layers = {layer.name: layer for layer in subject.layers(names)} if names else {}
    recorded = {name: subject.recording.responses(layers[name]) for name in subject.recording.last if name in layers}
    responses = {name: pooled for name, pooled in recorded.items() if pooled is not None}
    feeding = own.name if own is not None else ""
    distinct: dict[str, bool] = {}  # a layer's name: whether it, or one the same as it, is a positive activation
    for name in sorted(layers, key=lambda name: (name != feeding, *_rank(module, name))):
        same = (other for other in distinct if close(responses[name], responses[other], SAME))
        kind = type(get_module(module, name)).__module__
        positive = kind == "torch.nn.modules.activation" and bool(responses[name].min() >= 0)
        representative = next(same, name)
        distinct[representative] = distinct.get(representative, False) or positive
    chosen = [name for name in distinct if distinct[name]] if any(distinct.values()) else list(distinct)
    ordered = [layers[name] for name in responses if name in chosen]
    places = torch.linspace(0, len(ordered) - 1, min(MOST, len(ordered))).round().long().tolist()
    return [ordered[place] for place in places]


def _rank(module: nn.Module, name: str) -> tuple[bool, int]:
    """Innermost blocks first, then modules without children, the least nested first."""
    is_block = next(get_module(module, name).children(), None) is not None
    return not is_block, -name.count(".") if is_block else name.count(".")
