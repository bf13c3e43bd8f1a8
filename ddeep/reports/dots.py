"""A comparison at one k: a dot and an interval for each strategy, to a scale that shows where the best differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..results.comparison_summary import Place, accuracy
from ..selections.k import K

OTHERS = ("learned", "decomposed")  # stages shown beside the one that strategies are ranked by


@dataclass(frozen=True)
class Scale:
    """The ends of an axis in percent, and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]


@dataclass(frozen=True)
class Dot:
    """A strategy: its accuracy with an interval, other stages' accuracies, and whether it is no worse than the best."""

    strategy: str
    value: float
    low: float
    high: float
    others: tuple[tuple[str, float], ...]
    alike: bool


@dataclass(frozen=True)
class Dots:
    """All strategies of one k, the best first.

    ``stage`` is what they are ranked by, ``null`` the ends of the middle 95 % of random selections at that stage.
    ``zoomed`` shows the dots but those far below the others, ``whole`` everything.
    """

    k: K
    stage: str
    rows: tuple[Dot, ...]
    full: float
    null: tuple[float, float] | None
    zoomed: Scale
    whole: Scale


def dots(place: Place, k: K) -> Dots:
    """What the chart of this k shows."""
    rows = place.at(k)
    stage = "decomposed" if rows[0]["refit"] is None else "refit"
    found = tuple(_dot(row) for row in rows)
    full, null = float(place.network["full"]), null_of(place, k, stage)
    ends = [end for dot in found for end in (dot.low, dot.high)]
    near = [dot for dot in found if dot.value >= _fence([dot.value for dot in found])]
    zoomed = [*(end for dot in near for end in (dot.low, dot.high)), full]
    if null is not None and 2 * (max(zoomed) - min(zoomed)) >= max(zoomed) - null[0]:
        zoomed += null
    everything = [*ends, full, *(null or ()), *(value for dot in found for _, value in dot.others)]
    return Dots(k, stage, found, full, null, scale(zoomed), scale(everything))


def _dot(row: dict[str, Any]) -> Dot:
    stage = "decomposed" if row["refit"] is None else "refit"
    low, high = row[f"{stage}_interval"]
    others = tuple((other, row[other]) for other in OTHERS if other != stage and row.get(other) is not None)
    return Dot(row["strategy"], accuracy(row), low, high, others, bool(row.get("best_alike")))


def _fence(values: Sequence[float]) -> float:
    """Tukey's lower fence: what lies below is far from the others."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(first - 1.5 * (third - first))


def null_of(place: Place, k: K, stage: str) -> tuple[float, float] | None:
    """The ends of the middle 95 % of what random selections of ``k`` filters reach at a stage."""
    drawn = place.null.get(k, {}).get(stage)
    if not drawn:
        return None
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def scale(values: Sequence[float], most: int = 5) -> Scale:
    """A scale for percentages with a little room at its ends, never beyond 0 and 100 by more than that."""
    low, high = min(values), max(values)
    room = max(0.04 * (high - low), 0.05)
    low, high = max(low, 0.0) - room, min(high, 100.0) + room
    ticks = [tick for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= tick <= high]
    return Scale(low, high, tuple(round(float(tick), 6) for tick in ticks))


def few(place: Place, most: int = 6) -> list[str]:
    """The strategies whose curves are worth a look first: the most accurate of each k, then by their mean over all.

    Without those far below the others, which would leave no room on the scale for the differences of these.
    """
    firsts = [place.at(k)[0]["strategy"] for k in place.ks]
    found: dict[str, list[float]] = {}
    for row in place.rows:
        found.setdefault(row["strategy"], []).append(accuracy(row))
    means = {name: sum(accuracies) / len(accuracies) for name, accuracies in found.items()}
    fence = _fence(list(means.values()))
    near = sorted((name for name in means if means[name] >= fence), key=lambda name: -means[name])
    return list(dict.fromkeys([*firsts, *near]))[:most]
