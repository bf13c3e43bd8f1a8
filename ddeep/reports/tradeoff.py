"""Accuracy beside what makes filters interpretable: every selection of a comparison as a mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..registry.registry import registry
from .style import AMBER, BLUE, GREEN, GREY, ORANGE, PURPLE, Plot, grid, label

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER)
MARKS = ("o", "s", "D", "^", "v", "P", "X")
PANEL = (2.7, 2.6)  # inches


def tradeoff(name: str, title: str, rows: Sequence[dict[str, Any]], full: float) -> Plot | None:
    """One panel for each of the figures that a comparison shows of every selection; None where no row has any.

    A colour and a mark for each k (and budget). Named are the rows that no other beats in both.
    """
    stage = "refit" if any(row["refit"] is not None for row in rows) else "decomposed"
    judged = [row for row in rows if row[stage] is not None]
    measured = [
        spec.name
        for spec in registry().metrics.unambiguous()
        if spec.compared and any(isinstance(row.get(spec.name), float) for row in judged)
    ]
    if not measured:
        return None
    figure = Figure(figsize=(PANEL[0] * len(measured) + 0.4, PANEL[1] + 0.7), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, measured, strict=True):
        _panel(panel, [row for row in judged if row.get(metric) is not None], metric, stage, full)
    panels[0].set_ylabel(f"accuracy on the test split, {stage}, %")
    handles = {text: mark for panel in panels for mark, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return Plot(name, figure, f"Test accuracy against {', '.join(measured)}, a mark for each selection. {title}.")


def _panel(axes: Axes, rows: Sequence[dict[str, Any]], metric: str, stage: str, full: float) -> None:
    grid(axes, "both")
    axes.axhline(full, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
    kinds = list(dict.fromkeys(_kind(row) for row in rows))
    for number, kind in enumerate(kinds):
        own = [row for row in rows if _kind(row) == kind]
        axes.plot(
            [row[metric] for row in own],
            [row[stage] for row in own],
            linestyle="none",
            label=kind,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKS[number % len(MARKS)],
        )
    for row in unbeaten(rows, metric, stage):
        axes.annotate(
            label(row["strategy"], 18), (row[metric], row[stage]), xytext=(-4, 4), textcoords="offset points",
            fontsize=7, ha="right",
        )  # fmt: skip
    axes.set_xlabel(metric)
    axes.margins(x=0.3, y=0.12)


def _kind(row: dict[str, Any]) -> str:
    budget = row.get("budget")
    return f"k = {row['k']:g}" + ("" if budget is None else f", budget {budget}")


def unbeaten(rows: Sequence[dict[str, Any]], metric: str, stage: str) -> list[dict[str, Any]]:
    """The rows that no other equals in both figures and beats in one; of equal rows the first."""
    found: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (-row[stage], -row[metric])):
        if not found or row[metric] > found[-1][metric]:
            found.append(row)
    return found
