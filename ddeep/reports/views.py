"""Findings as the page shows them without its script: rows, cells and texts, nothing left to compute."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .findings import Findings
from .heat import Heat, heat_table
from .proof import Proof, interval_of
from .verdict import marks, null_range

MOST_COLUMNS = 20  # classes in a confusion matrix; of more, the mistakes that changed most are listed
TICKS = 5


def filter_order(found: Findings, selected_only: bool = False) -> list[int]:
    """Filters by the first class that selects them, best first; then, by number, those that no class selects."""
    chosen = list(dict.fromkeys(j for filters in found.selection.filters for j in filters))
    rest = sorted(set(range(found.selection.num_filters)) - set(chosen))
    return chosen if selected_only else chosen + rest


@dataclass(frozen=True)
class StripRow:
    """A line of the verdict's strip: where its interval and its mark stand, in percent of the width."""

    stage: str
    words: str
    value: str
    interval: str
    left: float
    width: float
    mark: float


@dataclass(frozen=True)
class Strip:
    """The lines, and the axis below them."""

    rows: tuple[StripRow, ...]
    ticks: tuple[tuple[str, float], ...]


def strip(found: Findings, proof: Proof) -> Strip:
    """Every stage with its interval, and the random selections with the middle 95 % of them."""
    lines = [(mark.stage, mark.words, mark.percent, mark.low, mark.high) for mark in marks(found, proof)]
    null = null_range(proof)
    if null is not None and proof.null is not None:
        words = f"{len(proof.null):,} random selections of as many filters"
        lines.append(("random", words, *null))
    low, high = min(line[3] for line in lines), max(line[4] for line in lines)
    step = next((s for s in (1, 2, 5, 10, 20) if (high - low) / s <= TICKS), 25)
    start, end = step * (low // step), min(100.0, step * -(-high // step))
    scale = 100 / ((end - start) or 1)

    def at(value: float) -> float:
        return round((value - start) * scale, 2)

    rows = tuple(
        StripRow(
            stage,
            words,
            f"{percent:.1f}",
            f"{low:.1f}, {high:.1f}",
            at(low),
            round((high - low) * scale, 2),
            at(percent),
        )
        for stage, words, percent, low, high in lines
    )
    count = int((end - start) / step + 1e-9) + 1
    return Strip(rows, tuple((f"{start + step * i:g}", at(start + step * i)) for i in range(count)))


@dataclass(frozen=True)
class NullChart:
    """The random selections as bars ``(left, width, height)`` and the run's own mark, in percent of the chart."""

    bars: tuple[tuple[float, float, float], ...]
    mark: float
    ticks: tuple[tuple[str, float], ...]
    reach: int
    draws: int


def null_chart(found: Findings, proof: Proof) -> NullChart | None:
    """How accurate random selections are."""
    if proof.null is None:
        return None
    percents = 100 * proof.null.double() / proof.images
    own = found.document["accuracy"]["decomposed"]
    low, high = min(float(percents.min()), own), max(float(percents.max()), own)
    step = next((s for s in (1, 2, 5, 10, 20) if (high - low) / s <= TICKS), 25)
    start, end = step * (low // step), min(100.0, step * (high // step + 1))
    scale, bins = 100 / (end - start), 60
    counts = ((percents - start) / (end - start) * bins).long().clamp(0, bins - 1).bincount(minlength=bins)
    bars = tuple(
        (100 * i / bins, 100 / bins, 100 * int(count) / int(counts.max())) for i, count in enumerate(counts) if count
    )
    count = int((end - start) / step + 1e-9) + 1
    ticks = tuple((f"{start + step * i:g}", (step * i) * scale) for i in range(count))
    right = round(own * proof.images / 100)
    return NullChart(bars, (own - start) * scale, ticks, int((proof.null >= right).sum()), len(proof.null))


def confusions(found: Findings) -> list[Heat]:
    """Confusion matrices: before, after, and the change, blue where it is for the better; for many classes none."""
    measured = found.measured
    if measured is None or found.final not in measured.confusions or len(found.classes) > MOST_COLUMNS:
        return []
    classes = range(len(found.classes))
    before, after = (measured.confusions[stage].to_dense() for stage in ("full", found.final))
    tables = [heat_table("full", "Full network", before.double(), classes, classes, digits=0, root=True)]
    if found.final != "full":
        title = found.final.capitalize()
        tables.append(heat_table("after", title, after.double(), classes, classes, digits=0, root=True))
        change = (after - before).double()
        better = torch.where(torch.eye(len(change), dtype=torch.bool), change, -change)  # a mistake less is better
        tables.append(
            heat_table(
                "change", f"{title} − full", change, classes, classes, digits=0, plus=True, root=True, shaded_by=better
            )
        )
    return tables


def class_rows(found: Findings) -> list[dict[str, object]]:
    """A row for every class that has images or filters: its accuracies with intervals, what is lost, its filters."""
    rows = []
    for row in found.document["per_class"]:
        if not (row["images"] or row["filters"]):
            continue
        last = interval_of(row[found.final], row["images"])
        rows.append(
            {
                "index": row["index"],
                "name": found.classes[row["index"]],
                "images": row["images"],
                "accuracies": [row[stage] for stage in found.stages],
                "interval": last,
                "drop": found.drop(row["index"]),
                "filters": row["filters"],
            }
        )
    return rows
