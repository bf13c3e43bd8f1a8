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

from ..selections.k import K
from .style import DIFFERENCES, GREY, MAGNITUDES, STAGES, Plot, grid, label, save, style
from .tradeoff import tradeoff

Rows = Sequence[dict[str, Any]]
ACROSS = 5  # panels side by side
PANEL = (2.0, 1.55)  # inches
NAMES = 1.5  # inches for the names of strategies beside a matrix
CELL = 0.21  # inches


def draw(document: dict[str, Any]) -> Iterator[Plot]:
    """The figures of every layer of every checkpoint, one pair for each."""
    places = [(network, layer["layer"]) for network in document["networks"] for layer in network["layers"]]
    for number, (network, layer) in enumerate(places):
        here = {"weights": network["weights"], "layer": layer}
        ending = f"-{number + 1}-{re.sub(r'[^A-Za-z0-9.]+', '_', layer)[:60]}" if len(places) > 1 else ""
        rows = _of(document["rows"], here)
        null = {row["filters_per_class"]: row for row in _of(document["null"], here) if _is_number(row)}
        weights = f" with {_end(network['weights'])}" if len(document["networks"]) > 1 else ""
        title = f"{document['model']}{weights} on {document['dataset']}, layer {layer}"
        with style():
            if any(row["decomposed"] is not None for row in rows):
                yield _accuracy(f"accuracy{ending}", title, rows, document["k"], null, network["full"])
            if (beside := tradeoff(f"tradeoff{ending}", title, rows, network["full"])) is not None:
                yield beside
            agreements = [table for table in _of(document["agreement"], here) if len(table["strategies"]) > 1]
            if agreements:
                yield _agreement(f"agreement{ending}", title, agreements[len(agreements) // 2])


def draw_into(document: dict[str, Any], folder: Path) -> None:
    """Write all of them into ``folder``, as PNG and SVG."""
    for plot in draw(document):
        save(plot, folder)


def _end(name: str, most: int = 40) -> str:
    """The end of a long file name, which tells checkpoints apart better than its start."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _of(rows: Rows, here: dict[str, str]) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in here.items())]


def _is_number(null: dict[str, Any]) -> bool:
    return not isinstance(null["filters_per_class"], list)


def _accuracy(name: str, title: str, rows: Rows, ks: Sequence[K], null: dict[int, dict[str, Any]], full: float) -> Plot:
    """One small panel for each strategy, the best first, all to one scale."""
    strategies = _best_first(rows)
    across = min(ACROSS, len(strategies))
    down = math.ceil(len(strategies) / across)
    figure = Figure(figsize=(max(4.5, PANEL[0] * across), PANEL[1] * down + 0.8), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel, strategy in zip(panels.flat, strategies, strict=False):
        _panel(panel, [row for row in rows if row["strategy"] == strategy], ks, null, full)
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
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return Plot(name, figure, f"Test accuracy against k with 95 % intervals, one panel a strategy. {title}.")


def _best_first(rows: Rows) -> list[str]:
    """The strategies by their mean accuracy over all k, after the refit where there is one."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["strategy"], []).append(row["decomposed"] if row["refit"] is None else row["refit"])
    return sorted(found, key=lambda name: -fmean(found[name]))


def _panel(axes: Axes, rows: Rows, ks: Sequence[K], null: dict[int, dict[str, Any]], full: float) -> None:
    grid(axes, "y")
    axes.axhline(full, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
    chance = [(at, null[int(k)]["quantiles"]) for at, k in enumerate(ks) if k in null]
    if chance:
        low, high = ([quantiles[end] for _, quantiles in chance] for end in ("0.025", "0.975"))
        places = [at for at, _ in chance]
        axes.fill_between(places, low, high, color=GREY, alpha=0.25, linewidth=0, label="random selections, 95 %")
    for stage, marker in (("decomposed", "s"), ("learned", "D"), ("refit", "o")):
        shown = sorted((ks.index(row["k"]), row) for row in rows if row.get(stage) is not None)
        if not shown:
            continue
        places = [at for at, _ in shown]
        values = np.array([row[stage] for _, row in shown])
        ends = np.array([row[f"{stage}_interval"] for _, row in shown])
        errors = np.abs(ends.T - values)
        axes.errorbar(places, values, errors, color=STAGES[stage], marker=marker, capsize=2, label=stage)
    axes.set_xticks(range(len(ks)), [f"{k:g}" for k in ks])
    axes.set_xlim(-0.4, len(ks) - 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(4))


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
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return Plot(name, figure, f"How much the strategies' selections agree, mean over classes. {title}.")


def _alike_together(overlap: np.ndarray) -> list[int]:
    """An order that puts selections with much overlap side by side: leaves of average linkage."""
    distance = 1 - np.nan_to_num((overlap + overlap.T) / 2)
    np.fill_diagonal(distance, 0)
    found: list[int] = leaves_list(
        linkage(squareform(distance.clip(min=0), checks=False), "average", optimal_ordering=True)
    ).tolist()
    return found
