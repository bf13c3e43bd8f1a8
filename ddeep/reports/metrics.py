"""The metrics that a run has measured, as a page shows them: a number each, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..registry.registry import registry
from ..selections.measure import headline
from .glossary import metric_key


@dataclass(frozen=True)
class MetricRow:
    """A metric's name, the key of its term (empty where no plugin explains it), its value, and its meaning."""

    name: str
    term: str
    value: str
    summary: str
    source: str


def metric_rows(document: Mapping[str, Any]) -> list[MetricRow]:
    """Those in a run's document, in its order."""
    known = {spec.name: spec for spec in registry().metrics.unambiguous()}
    rows = []
    for key, figure in (document.get("metrics") or {}).items():
        name = key.replace("_", "-")
        spec = known.get(name.partition(":")[0])
        number = headline(spec, figure) if spec is not None else figure if isinstance(figure, int | float) else None
        value = "not defined here" if number is None else f"{number:.4g}".replace("-", "−")
        if spec is None:
            rows.append(MetricRow(name, "", value, "", ""))
        else:
            rows.append(MetricRow(name, metric_key(spec.name), value, spec.summary, spec.source))
    return rows
