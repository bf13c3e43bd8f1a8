"""Run metrics on evidence and selections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ..errors import ConfigError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..registry.registry import registry
from ..registry.specs import MetricSpec, resolve
from ..statistics.statistic import Statistic
from .selection import Selection


@dataclass(frozen=True)
class SplitEvidence:
    """The evidence of one layer over both splits; ``test`` is None where it was not gathered."""

    train: Evidence
    test: Evidence | None = None

    def of_test(self) -> Evidence:
        """The test split's evidence, for metrics that declare needs on it."""
        assert self.test is not None, "a metric that reads the test split must declare needs on it"
        return self.test


def find_metric(name: str) -> MetricSpec:
    """The metric spec of that name; ``name:number`` sets its option."""
    base, colon, given = name.partition(":")
    spec = registry().find("metric", base)
    if not colon:
        return spec
    if spec.option is None:
        raise ConfigError(f"The metric {base!r} takes no number, but {name!r} was asked for. Write {base!r}.")
    try:
        option = float(given)
    except ValueError:
        raise ConfigError(f"{name!r}: {given!r} is not a number. Write {base}:{spec.option:g}, for instance.") from None
    needs = partial(resolve(spec.needs), option=option) if spec.needs is not None else None
    return replace(spec, name=name, needs=needs, measure=partial(resolve(spec.measure), option=option))


def always_measured() -> list[MetricSpec]:
    """The metrics that every run shows."""
    return [spec for spec in registry().metrics.values() if spec.always]


def needed(specs: Iterable[MetricSpec], split: Literal["train", "test"]) -> list[Statistic]:
    """The statistics that these metrics take of a split."""
    return [statistic for spec in specs if spec.needs for statistic in resolve(spec.needs)(split)]


def measure(
    specs: Iterable[MetricSpec], evidence: SplitEvidence, selection: Selection | None, context: Context
) -> dict[str, Any]:
    """Each metric's figures by its name, dashes as underscores; None for those of a selection where there is none."""
    figures: dict[str, Any] = {}
    for spec in specs:
        without = (spec.of == "selection" and selection is None) or (spec.head_only and context.head is None)
        key = spec.name.replace("-", "_")
        figures[key] = None if without else resolve(spec.measure)(evidence, selection, context)
    return figures


def headline(spec: MetricSpec, figure: Any) -> float | None:
    """The one number that stands for a metric's figure, if there is one."""
    if isinstance(figure, dict):
        figure = figure.get(spec.headline) if spec.headline is not None else next(iter(figure.values()), None)
    return figure if isinstance(figure, int | float) else None
