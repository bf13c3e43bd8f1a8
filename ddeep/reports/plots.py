"""The figures of a run, for the page and for a paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from . import style
from .depth import Depth
from .findings import Findings
from .style import DIFFERENCES, MAGNITUDES, MARKERS, STAGES, Plot, label

MOST_CLASSES = 40


def run_plots(found: Findings, order: Sequence[int]) -> list[Plot]:
    """All figures that ``found`` can fill; filters in the matrix stand in ``order``."""
    plots = [accuracy_by_class(found)]
    measured = found.measured
    if measured is not None:
        plots.append(class_filter_matrix(found, order))
        if found.final in measured.confusions and found.final != "full":
            plots.append(confusion_change(found))
        if measured.depth:
            plots.append(metrics_over_layers(measured.depth, found.document["layer"]))
    return plots


def accuracy_by_class(found: Findings) -> Plot:
    """A row per class, a point per stage; the classes that lose most come first and, of many, alone."""
    rows = [c for c, row in enumerate(found.document["per_class"]) if row["full"] is not None]
    rows = sorted(rows, key=lambda c: -(found.drop(c) or 0.0))[:MOST_CLASSES]
    figure = Figure(figsize=(4.0, 0.9 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, c in enumerate(rows):
        values = [found.document["per_class"][c][stage] for stage in found.stages]
        axes.plot([min(values), max(values)], [place, place], color=style.INK, alpha=0.25, linewidth=1.0, zorder=1)
    for stage, marker in zip(found.stages, MARKERS, strict=False):
        values = [found.document["per_class"][c][stage] for c in rows]
        axes.plot(values, range(len(rows)), marker, color=STAGES[stage], label=stage, linestyle="none")
    axes.set_yticks(range(len(rows)), [label(found.classes[c]) for c in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("accuracy on the test split, %")
    style.grid(axes, "x")
    figure.legend(loc="outside lower left", ncols=len(found.stages))
    return Plot("accuracy-by-class", figure, "Accuracy of every class at each stage; the table below has the numbers.")


def class_filter_matrix(found: Findings, order: Sequence[int]) -> Plot:
    """Mean contribution (or response) of every filter to every class, selected cells outlined."""
    measured = found.measured
    assert measured is not None
    at_head = measured.contributions is not None
    values = (measured.contributions if measured.contributions is not None else measured.means)[:, list(order)]
    classes = len(values)
    figure = Figure(figsize=(7.2, min(8.0, 1.5 + 0.2 * classes)), layout="constrained")
    axes = figure.subplots()
    largest = float(torch.nan_to_num(values).abs().max()) or 1.0
    signed = bool((torch.nan_to_num(values) < 0).any())
    limits = (-largest, largest) if signed else (0.0, largest)
    image = axes.imshow(
        values.numpy(), cmap=DIFFERENCES if signed else MAGNITUDES, vmin=limits[0], vmax=limits[1], aspect="auto"
    )
    _outline(axes, found, order)
    names = [label(name) for name in found.classes]
    axes.set_yticks(*(([], []) if classes > MOST_CLASSES else (range(classes), names)))
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_xlabel(f"filters of {label(found.document['layer'], 40)}, by the classes that select them (outlined)")
    axes.spines[:].set_visible(False)
    title = "mean contribution W·r to the class's logit" if at_head else "mean response to the class"
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=18, label=title)
    bar.outline.set_visible(False)
    return Plot("class-filter-matrix", figure, f"Heat map of classes by filters: {title}.")


def _outline(axes: Axes, found: Findings, order: Sequence[int]) -> None:
    place = {j: column for column, j in enumerate(order)}
    points = [(place[j], c) for c, filters in enumerate(found.selection.filters) for j in filters if j in place]
    if not points or len(points) > 2000:
        return
    for x, y in points:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=style.INK, linewidth=0.7))


def confusion_change(found: Findings) -> Plot:
    """Last stage minus full network, images by true and predicted class."""
    measured = found.measured
    assert measured is not None
    change = (measured.confusions[found.final] - measured.confusions["full"]).double().coalesce()
    rows = busiest(change, MOST_CLASSES)
    shown = change.index_select(0, torch.tensor(rows)).index_select(1, torch.tensor(rows)).to_dense()
    figure = Figure(figsize=(1.9 + 0.3 * len(rows), 1.3 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    largest = float(shown.abs().max()) or 1.0
    image = axes.imshow(shown.numpy(), cmap=DIFFERENCES, vmin=-largest, vmax=largest)
    if len(rows) <= 20:
        for y, x in np.argwhere(shown.numpy() != 0):
            level = abs(float(shown[y, x])) / largest
            axes.text(
                x, y, f"{int(shown[y, x]):+d}".replace("-", "−"), ha="center", va="center", fontsize=6.5,
                color="white" if level > 0.6 else "#1d1d20",
            )  # fmt: skip
    names = [label(found.classes[c], 16) for c in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xticks(range(len(rows)), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, aspect=18, label=f"images, {found.final} − full", ticks=MaxNLocator(5, integer=True)
    )
    bar.outline.set_visible(False)
    return Plot("confusion-change", figure, f"Change of the confusion matrix from the full network to {found.final}.")


def busiest(change: Tensor, most: int) -> list[int]:
    """The classes, in their order, whose rows and columns of a sparse table change most."""
    (true, told), sizes = change.indices(), change.values().abs()
    activity = torch.zeros(len(change), dtype=sizes.dtype).index_add_(0, true, sizes).index_add_(0, told, sizes)
    return sorted(activity.argsort(descending=True, stable=True)[:most].tolist())


def metrics_over_layers(depth: Sequence[Depth], feeding: str) -> Plot:
    """Every layer metric from the first layer to the last; ``feeding`` is the run's own layer."""
    names = list(depth[0].figures)
    figure = Figure(figsize=(6.4, 2.7 + 0.06 * max(len(row.layer) for row in depth)), layout="constrained")
    axes = figure.subplots()
    for name, colour, marker in zip(names, style.SERIES, MARKERS, strict=False):
        values = [np.nan if (value := row.figures[name]) is None else value for row in depth]
        axes.plot(values, marker=marker, color=colour, label=name)
    layers = [label(row.layer, 30) for row in depth]
    axes.set_xticks(range(len(depth)), layers, rotation=60, ha="right", rotation_mode="anchor")
    for tick, row in zip(axes.get_xticklabels(), depth, strict=True):
        tick.set_fontweight("bold" if row.layer == feeding else "normal")
    axes.set_ylim(bottom=0)
    style.grid(axes, "y")
    figure.legend(loc="outside lower left", ncols=len(names))
    return Plot("metrics-over-layers", figure, "Metrics of layers over the depth of the network.")
