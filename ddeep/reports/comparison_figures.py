"""Figures of a comparison: accuracy against k, and how much the strategies agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ..results.comparison_summary import Place, accuracy, places_of
from ..selections.k import K
from .budget_figure import budget_figure
from .dots import Dots, dots, few, null_of, scale
from .style import BLUE, DIFFERENCES, GREY, MAGNITUDES, MARKERS, SERIES, STAGES, Plot, grid, label, save, style, titled
from .tradeoff import tradeoff

Rows = Sequence[dict[str, Any]]
ACROSS = 5  # panels side by side
PANEL = (2.0, 1.55)  # inches
NAMES = 1.5  # inches for the names of strategies beside a matrix
CELL = 0.21  # inches


def draw(document: dict[str, Any]) -> Iterator[Plot]:
    """The figures of every layer of every checkpoint: one k, the few best over k, each strategy, and agreement."""
    several = sum(len(network["layers"]) for network in document["networks"]) > 1
    accurate = list(places_of(document))
    places = [(network, layer["layer"]) for network in document["networks"] for layer in network["layers"]]
    for number, (network, layer) in enumerate(places):
        ending = f"-{number + 1}-{re.sub(r'[^A-Za-z0-9.]+', '_', layer)[:60]}" if several else ""
        weights = f" with {_end(network['weights'])}" if len(document["networks"]) > 1 else ""
        title = f"{document['model']}{weights} on {document['dataset']}, layer {layer}"
        with style():
            own = [
                place for place in accurate if (place.network["weights"], place.layer) == (network["weights"], layer)
            ]
            for place in own:
                yield from _accuracies(ending, title, place)
            if len(own) > 1:
                yield budget_figure(f"budgets{ending}", title, own)
            here = {"weights": network["weights"], "layer": layer}
            rows = _of(document["rows"], here)
            if (beside := tradeoff(f"tradeoff{ending}", title, rows, network["full"])) is not None:
                yield beside
            agreements = [table for table in _of(document["agreement"], here) if len(table["strategies"]) > 1]
            if agreements:
                yield _agreement(f"agreement{ending}", title, agreements[len(agreements) // 2])


def _accuracies(ending: str, title: str, place: Place) -> Iterator[Plot]:
    if place.budget is not None:
        ending, title = f"{ending}-budget{place.budget}", f"{title}, budget {place.budget}"
    yield _dots(f"accuracy{ending}", title, dots(place, place.chosen_k))
    if len(place.ks) > 1:
        yield _few(f"few{ending}", title, place)
    yield _each(f"each{ending}", title, place)


def draw_into(document: dict[str, Any], folder: Path) -> None:
    """Write all of them into ``folder``, as PNG, SVG and PDF."""
    for plot in draw(document):
        save(plot, folder)


def _end(name: str, most: int = 40) -> str:
    """The end of a long file name, which tells checkpoints apart better than its start."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _of(rows: Rows, here: dict[str, str]) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in here.items())]


def _dots(name: str, title: str, found: Dots) -> Plot:
    """A row a strategy, the best first: its accuracy with an interval, to the zoomed scale."""
    rows = found.rows
    figure = Figure(figsize=(5.6, 1.35 + 0.185 * len(rows)), layout="constrained")
    axes = figure.subplots()
    grid(axes, "x")
    colour = STAGES[found.stage]
    alike = [at for at, dot in enumerate(rows) if dot.alike]
    for start in alike:
        shaded = "cannot be told from the most accurate" if start == alike[0] else None
        axes.axhspan(start - 0.5, start + 0.5, color=BLUE, alpha=0.12, linewidth=0, label=shaded)
    if found.null is not None:
        low, high = found.null
        beyond = f": {low:.1f} to {high:.1f}" if high < found.zoomed.low else ""
        axes.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, label=f"random filters, middle 95 %{beyond}")
    axes.axvline(found.full, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
    values = np.array([dot.value for dot in rows])
    errors = np.abs(np.array([[dot.low, dot.high] for dot in rows]).T - values)
    axes.errorbar(
        values, range(len(rows)), xerr=errors, color=colour, marker="o", linestyle="none", linewidth=1.0,
        label=f"{found.stage}, 95 % interval",
    )  # fmt: skip
    axes.set_xlim(found.zoomed.low, found.zoomed.high)
    for at in np.flatnonzero(values < found.zoomed.low):
        axes.annotate(
            f"◂ {values[at]:.1f}", (0, at), xycoords=axes.get_yaxis_transform(), xytext=(2, 0),
            textcoords="offset points", va="center", fontsize=7.5,
        )  # fmt: skip
    axes.set_xticks(found.zoomed.ticks)
    axes.set_yticks(range(len(rows)), [label(dot.strategy, 30) for dot in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("accuracy on the test split, %")
    figure.legend(loc="outside lower left", ncols=2)
    titled(figure, f"{title}, k = {found.k:g}")
    return Plot(name, figure, f"Test accuracy of every strategy with 95 % intervals. {title}, k = {found.k:g}.")


def _few(name: str, title: str, place: Place) -> Plot:
    """A line for each of a few strategies, all in one panel that is zoomed to them."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    chosen = few(place)
    ends = [place.network["full"]]
    for number, (strategy, colour, marker) in enumerate(zip(chosen, SERIES, MARKERS, strict=False)):
        rows = [row for row in place.rows if row["strategy"] == strategy]
        stage = "refit" if rows[0]["refit"] is not None else "decomposed"
        shift = 0.05 * (number - (len(chosen) - 1) / 2)  # intervals beside each other
        ends += _curve(axes, rows, place.ks, stage, colour, marker, label(strategy, 30), shift)
    _around(axes, place, stage)
    zoomed = scale(ends)
    axes.set_ylim(zoomed.low, zoomed.high)
    axes.set_xlabel("k, filters per class")
    axes.set_ylabel("accuracy on the test split, %")
    figure.legend(loc="outside lower left", ncols=2)
    titled(figure, title)
    return Plot(name, figure, f"Test accuracy against k of {', '.join(chosen)}, with 95 % intervals. {title}.")


def _each(name: str, title: str, place: Place) -> Plot:
    """One small panel for each strategy, the best first, all to one scale."""
    strategies = _best_first(place.rows)
    across = min(ACROSS, len(strategies))
    down = math.ceil(len(strategies) / across)
    figure = Figure(figsize=(max(4.5, PANEL[0] * across), PANEL[1] * down + 0.8), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel, strategy in zip(panels.flat, strategies, strict=False):
        rows = [row for row in place.rows if row["strategy"] == strategy]
        for stage, marker in (("decomposed", "s"), ("learned", "D"), ("refit", "o")):
            _curve(panel, rows, place.ks, stage, STAGES[stage], marker, stage)
        _around(panel, place, "decomposed")
        panel.yaxis.set_major_locator(MaxNLocator(4))
        panel.set_title(label(strategy, 26))
    for panel in panels.flat[len(strategies) :]:
        panel.set_visible(False)
    for column in range(across):  # the lowest panel that is there carries the ticks of its column
        lowest = panels[down - 1 if (down - 1) * across + column < len(strategies) else down - 2, column]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("k, filters per class")
    for row in panels:
        row[0].set_ylabel("test accuracy, %")
    named = {name: line for panel in panels.flat for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=len(named))
    titled(figure, title)
    return Plot(name, figure, f"Test accuracy against k with 95 % intervals, one panel a strategy. {title}.")


def _best_first(rows: Rows) -> list[str]:
    """The strategies by their mean accuracy over all k, after the refit where there is one."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["strategy"], []).append(accuracy(row))
    return sorted(found, key=lambda name: -fmean(found[name]))


def _curve(
    axes: Axes, rows: Rows, ks: Sequence[K], stage: str, colour: str, marker: str, name: str, shift: float = 0.0
) -> list[float]:
    """A stage's accuracies over k with their intervals; returns the intervals' ends."""
    shown = sorted((ks.index(row["k"]), row) for row in rows if row.get(stage) is not None)
    if not shown:
        return []
    values = np.array([row[stage] for _, row in shown])
    ends = np.array([row[f"{stage}_interval"] for _, row in shown])
    places = np.array([at for at, _ in shown]) + shift
    axes.errorbar(places, values, np.abs(ends.T - values), color=colour, marker=marker, capsize=2, label=name)
    found: list[float] = ends.flatten().tolist()
    return found


def _around(axes: Axes, place: Place, stage: str) -> None:
    """What curves over k are read against: the full network, random selections, and every k in its place."""
    grid(axes, "y")
    axes.axhline(place.network["full"], color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
    chance = [(at, null) for at, k in enumerate(place.ks) if (null := null_of(place, k, stage)) is not None]
    if chance:
        places, ends = [at for at, _ in chance], np.array([null for _, null in chance]).T
        axes.fill_between(places, *ends, color=GREY, alpha=0.25, linewidth=0, label="random filters, middle 95 %")
    axes.set_xticks(range(len(place.ks)), [f"{k:g}" for k in place.ks])
    axes.set_xlim(-0.4, len(place.ks) - 0.6)


def _agreement(name: str, title: str, table: dict[str, Any]) -> Plot:
    """Jaccard overlap and rank agreement, strategies that choose alike beside each other."""
    overlap, ranks = (np.array(table[kind], dtype=float) for kind in ("jaccard", "rank_agreement"))
    order = _alike_together(overlap)
    names = [label(table["strategies"][at]) for at in order]
    side = max(1.5, CELL * len(names))
    figure = Figure(figsize=(2 * side + NAMES + 1.6, side + NAMES + 0.5), layout="constrained")
    panels = figure.subplots(1, 2)
    kinds = (
        ("Jaccard overlap", overlap, MAGNITUDES, 0),
        ("rank agreement, Kendall's τ-b", ranks, DIFFERENCES, -1),
    )
    for axes, (kind, values, colours, least) in zip(panels, kinds, strict=True):
        image = axes.imshow(values[np.ix_(order, order)], cmap=colours, vmin=least, vmax=1)
        axes.set_title(kind)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    title = f"{title}, k = {table['k']:g}"
    titled(figure, title)
    return Plot(name, figure, f"How much the strategies' selections agree, mean over classes. {title}.")


def _alike_together(overlap: np.ndarray) -> list[int]:
    """An order that puts selections with much overlap side by side: leaves of average linkage."""
    distance = 1 - np.nan_to_num((overlap + overlap.T) / 2)
    np.fill_diagonal(distance, 0)
    found: list[int] = leaves_list(
        linkage(squareform(distance.clip(min=0), checks=False), "average", optimal_ordering=True)
    ).tolist()
    return found
