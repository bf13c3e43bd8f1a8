"""The figure of a comparison with several budgets: accuracy against them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..results.comparison_summary import Place
from .dots import few, scale
from .style import GREY, MARKERS, SERIES, Plot, grid, label, titled

PANEL = 2.6  # inches


def budget_figure(name: str, title: str, places: Sequence[Place]) -> Plot:
    """A panel for each k and a line for each of a few strategies; ``places`` are one layer's, one a budget."""
    budgets = [place.budget for place in places]
    ks = list(dict.fromkeys(k for place in places for k in place.ks))
    chosen, full = few(places[-1]), places[0].network["full"]
    figure = Figure(figsize=(max(4.5, PANEL * len(ks) + 0.6), 3.4), layout="constrained")
    panels = figure.subplots(1, len(ks), sharey=True, squeeze=False)[0]
    ends = [full]
    for axes, k in zip(panels, ks, strict=True):
        grid(axes, "y")
        axes.axhline(full, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
        for number, (strategy, colour, marker) in enumerate(zip(chosen, SERIES, MARKERS, strict=False)):
            rows = [row for place in places for row in place.at(k) if row["strategy"] == strategy]
            if not rows:
                continue
            stage = "refit" if rows[0]["refit"] is not None else "decomposed"
            values = np.array([row[stage] for row in rows])
            around = np.array([row[f"{stage}_interval"] for row in rows])
            shift = 0.05 * (number - (len(chosen) - 1) / 2)  # intervals beside each other
            along = [budgets.index(row["budget"]) + shift for row in rows]
            errors = np.abs(around.T - values)
            axes.errorbar(along, values, errors, color=colour, marker=marker, capsize=2, label=label(strategy, 30))
            ends += around.flatten().tolist()
        axes.set_title(f"k = {k:g}")
        axes.set_xticks(range(len(budgets)), list(map(str, budgets)))
        axes.set_xlabel("budget of all classes")
    zoomed = scale(ends)
    panels[0].set_ylim(zoomed.low, zoomed.high)
    panels[0].set_ylabel("test accuracy, %")
    named = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=max(2, len(ks)))
    titled(figure, title)
    return Plot(name, figure, f"Test accuracy against the budget of {', '.join(chosen)}, with 95 % intervals. {title}.")
