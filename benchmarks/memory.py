"""Peak memory against the number of images, of classes and of filters, each point in a process of its own.

A process gathers everything that ``ddeep compare`` needs of a network with one wide layer, over images in a mapped
file, keeps the responses, and selects with every strategy that reads evidence and needs neither gradients nor learning.
What counts is memory that cannot be given back (Linux: anonymous, sampled); the mapped images and responses are pages
of files, which the system drops when it needs room. ``python -m benchmarks.memory JSON PNG`` draws a document that
``python -m benchmarks`` has written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ._common import Cost, Report, Settings, command

BASE = {"images": 5000, "classes": 100, "filters": 256}
AXES = {
    "images": (1000, 5000, 20_000, 50_000),
    "classes": (10, 100, 300, 1000),
    "filters": (64, 256, 1024, 2048),
}
TOY_AXES = {"images": (300, 600), "classes": (10, 20), "filters": (16, 32)}
TOY_BASE = {"images": 300, "classes": 10, "filters": 16}


def measure(settings: Settings) -> Report:
    """What 49,000 more images take, and what classes and filters take beside the formula."""
    base, axes = (TOY_BASE, TOY_AXES) if settings.quick else (BASE, AXES)
    report = Report({"base": base})
    points: dict[str, list[dict[str, Any]]] = {}
    for axis, values in axes.items():
        points[axis] = []
        for value in values:
            where = {**base, axis: value}
            done = command(["-m", "benchmarks._wide_layer", *(str(where[name]) for name in BASE)])
            found = {**where, **json.loads(done.output)}
            points[axis].append(found)
            report.costs[f"{axis} = {value}"] = [Cost(found["seconds"], found["processor"], found["anonymous"] / 1e9)]
            print(f"  {axis} = {value}: {found['anonymous'] / 1e6:.0f} MB", file=sys.stderr)
    report.details["points"] = points
    images = points["images"]
    grown = (images[-1]["anonymous"] - images[0]["anonymous"]) / 1e6
    report.add(f"growth from {images[0]['images']:,} to {images[-1]['images']:,} images", grown, "MB", at_most=32)
    for axis in ("classes", "filters"):
        low, high = points[axis][0], points[axis][-1]
        stated, growth = high["formula"] - low["formula"], high["anonymous"] - low["anonymous"]
        span = f"{low[axis]:,} to {high[axis]:,} {axis}"
        report.add(f"growth from {span}", growth / 1e6, "MB")
        report.add(f"growth of the statistics from {span}, by their formula", stated / 1e6, "MB")
        report.add(f"peak memory at {high[axis]:,} {axis}", high["anonymous"] / 1e6, "MB")
    return report


def draw(document: dict[str, Any], path: Path) -> None:
    """Three panels: memory against images, classes and filters, beside what the formula says of the statistics."""
    from matplotlib.figure import Figure

    from ddeep.reports.style import SERIES, style

    points = document["benchmarks"]["memory"]["points"]
    with style():
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        for axes, (axis, rows) in zip(figure.subplots(1, 3, sharey=True), points.items(), strict=True):
            values = [row[axis] for row in rows]
            start = rows[0]["anonymous"] - rows[0]["formula"]
            axes.plot(values, [row["anonymous"] / 1e6 for row in rows], marker="o", color=SERIES[0], label="measured")
            stated = [(start + row["formula"]) / 1e6 for row in rows]
            axes.plot(values, stated, linestyle=(0, (4, 2)), color=SERIES[1], label="start + formula of the states")
            fixed = ", ".join(f"{rows[0][name]:,} {name}" for name in points if name != axis)
            axes.set_xlabel(f"{axis} ({fixed})")
            axes.set_xscale("log")
            axes.set_xticks(values, [f"{value:,}" for value in values])
            axes.minorticks_off()
        figure.axes[0].set_ylim(bottom=0)
        figure.axes[0].set_ylabel("peak memory, MB")
        figure.axes[0].legend()
        figure.savefig(path, dpi=150, facecolor="white")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
