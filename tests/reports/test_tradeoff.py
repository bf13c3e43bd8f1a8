"""Accuracy against what a comparison measures of every selection."""

from __future__ import annotations

import random
from typing import Any

from ddeep.reports.style import style
from ddeep.reports.tradeoff import tradeoff, unbeaten


def row(strategy: str, refit: float | None, sid: float | None, k: int = 5, **more: Any) -> dict[str, Any]:
    return {"strategy": strategy, "k": k, "refit": refit, "decomposed": 50.0, "sid": sid, "twins": 2, **more}


def test_a_panel_for_each_figure_that_is_there_and_a_mark_for_each_row() -> None:
    rows = [row("a", 90.0, 0.5), row("b", 80.0, None), row("c", 85.0, 0.7, k=10), row("d", 70.0, 0.2, budget=50)]
    with style():
        plot = tradeoff("tradeoff", "title", rows, 92.0)
    assert plot is not None
    (axes,) = plot.figure.axes  # twins are counted, not drawn
    assert axes.get_xlabel() == "sid"
    assert axes.get_legend_handles_labels()[1] == ["full network", "k = 5", "k = 10", "k = 5, budget 50"]
    drawn = [(float(x), float(y)) for line in axes.lines[1:] for x, y in zip(*line.get_data(), strict=True)]
    assert drawn == [(0.5, 90.0), (0.7, 85.0), (0.2, 70.0)]
    assert [text.get_text() for text in axes.texts] == ["a", "c"]


def test_without_figures_there_is_nothing_to_draw() -> None:
    assert tradeoff("tradeoff", "title", [row("a", None, None)], 92.0) is None


def test_unbeaten_rows_are_those_that_no_other_beats() -> None:
    source = random.Random(0)
    rows = [row(str(n), float(source.randint(0, 9)), float(source.randint(0, 9))) for n in range(40)]
    found = unbeaten(rows, "sid", "refit")
    pairs = {(r["sid"], r["refit"]) for r in rows}
    best = {(x, y) for x, y in pairs if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in pairs)}
    assert {(r["sid"], r["refit"]) for r in found} == best
    assert len(found) == len(best)
