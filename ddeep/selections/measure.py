"""Run metrics on evidence and selections."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ..errors import ConfigError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..registry.registry import PluginWarning, registry
from ..registry.specs import MetricSpec, resolve
from ..statistics.statistic import Statistic
from .k import K
from .selection import Selection


@dataclass(frozen=True)
class SplitEvidence:
    """The evidence of one layer over both splits; ``test`` is None where it was not gathered."""

    train: Evidence
    test: Evidence | None = None

    def of_test(self) -> Evidence:
        """The test split's evidence, or ConfigError for a metric that declares nothing of it."""
        if self.test is None:
            raise ConfigError('This reads the test split: declare `needs("test")`, or responses=("test",).')
        return self.test

    def limited(self, spec: MetricSpec, ks: Sequence[K]) -> SplitEvidence:
        """What ``spec`` declares of both splits, for selections of ``ks`` filters per class, and nothing else."""
        train = self.train.limited(needed([spec], "train", ks), "train" in spec.responses)
        statistics = needed([spec], "test", ks)
        if self.test is None or not (statistics or "test" in spec.responses):
            return SplitEvidence(train)
        return SplitEvidence(train, self.test.limited(statistics, "test" in spec.responses))


def get_metric(name: str) -> MetricSpec:
    """The metric spec of that name; ``name:number``, or ``name:text``, sets its option."""
    base, colon, given = name.partition(":")
    spec = registry().find("metric", base)
    if not colon:
        return spec
    if spec.option is None:
        raise ConfigError(f"The metric {base!r} takes no number, but {name!r} was asked for. Write {base!r}.")
    option: float | str = given
    if not isinstance(spec.option, str):
        try:
            option = float(given)
        except ValueError:
            raise ConfigError(
                f"{name!r}: {given!r} is not a number. Write {base}:{spec.option:g}, for instance."
            ) from None
    needs = partial(resolve(spec.needs), option=option) if spec.needs is not None else None
    return replace(spec, name=name, needs=needs, measure=partial(resolve(spec.measure), option=option))


def always_measured() -> list[MetricSpec]:
    """The metrics that every run shows; a name that several plugins provide is warned about and left out."""
    return [spec for spec in offered() if spec.always]


def offered() -> list[MetricSpec]:
    """All metrics but those whose name several plugins provide, which are warned about."""
    for conflict in registry().metrics.conflicts():
        warnings.warn(f"{conflict} Until then it is not measured.", PluginWarning, stacklevel=2)
    return registry().metrics.unambiguous()


def needed(specs: Iterable[MetricSpec], split: Literal["train", "test"], ks: Sequence[K] = ()) -> list[Statistic]:
    """The statistics that these metrics take of a split, for selections of ``ks`` filters per class."""
    return [
        statistic
        for spec in specs
        if spec.needs
        for statistic in (resolve(spec.needs)(split, list(ks)) if spec.per_k else resolve(spec.needs)(split))
    ]


def keeps(specs: Iterable[MetricSpec], split: Literal["train", "test"]) -> bool:
    """Whether any of these metrics reads the kept responses of a split."""
    return any(split in spec.responses for spec in specs)


def measure(
    specs: Iterable[MetricSpec],
    evidence: SplitEvidence,
    selection: Selection | None,
    context: Context,
    k: K | None = None,
) -> dict[str, Any]:
    """Each metric's figures by its name, dashes as underscores; None for those of a selection where there is none.

    ``k`` is what the selection was made with, by default the number of filters that all its classes have.
    """
    k = selection.size if k is None and selection is not None else k
    figures: dict[str, Any] = {}
    for spec in specs:
        limited = evidence.limited(spec, [] if k is None else [k])
        without = (spec.of == "selection" and selection is None) or (spec.head_only and context.head is None)
        key = spec.name.replace("-", "_")
        figures[key] = None if without else resolve(spec.measure)(limited, selection, context)
    return figures


def compared(more: Iterable[str] = (), *, reruns: bool = True) -> list[MetricSpec]:
    """The metrics that a comparison shows of every selection, with or without those that run the network again.

    And ``more`` by name, whatever they run; raises ConfigError for one that is of a whole layer.
    """
    shown = [spec for spec in offered() if spec.compared or (spec.always and spec.of == "selection")]
    added = [get_metric(name) for name in more]
    for spec in added:
        if spec.of == "layer":
            raise ConfigError(f"The metric {spec.name!r} is of a layer, the same for all strategies: ddeep measure.")
    kept = [spec for spec in shown if reruns or not spec.reruns]
    return list({spec.name: spec for spec in [*kept, *added]}.values())


def measure_each(
    spec: MetricSpec, evidence: SplitEvidence, selections: Sequence[Selection], context: Context, ks: Sequence[K]
) -> list[Any]:
    """One metric's figure of every selection, all at once where it knows how: those of one k, where that matters."""
    if spec.measure_all is None or (spec.head_only and context.head is None):
        pairs = zip(selections, ks, strict=True)
        return [figure for one, k in pairs for figure in measure([spec], evidence, one, context, k).values()]
    figures: dict[int, Any] = {}
    for own in dict.fromkeys(ks) if spec.per_k else [None]:
        which = [number for number, k in enumerate(ks) if own is None or k == own]
        limited = evidence.limited(spec, [] if own is None else [own])
        found = resolve(spec.measure_all)(limited, [selections[number] for number in which], context)
        figures |= dict(zip(which, found, strict=True))
    return [figures[number] for number in range(len(selections))]


def headline(spec: MetricSpec, figure: Any) -> int | float | None:
    """The one number that stands for a metric's figure, if there is one."""
    if isinstance(figure, dict):
        figure = figure.get(spec.headline) if spec.headline is not None else next(iter(figure.values()), None)
    return figure if isinstance(figure, int | float) else None
