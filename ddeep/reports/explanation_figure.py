"""An explanation as a figure: the image, and for two classes what each filter sees and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..experiments.explain import ClassLogit, Explainer, Explanation, Term, adding_up
from .style import BLUE, GREY, INK, ORANGE, Plot, label
from .tiles import Maps, activation_maps, enlarged, light, spotlight

MOST = 8  # filters with a row of their own
ROW, TILE, PICTURE, BARS, GAP = 0.56, 0.5, 1.65, 1.75, 0.85  # inches; the gap holds "r = 10.00 (10.00)"
DIGITS = 2


class _Row(NamedTuple):
    name: str
    filter: int | None
    value: float
    seen: str = ""  # the response, and what is typical of the class


def explanation_plot(name: str, explainer: Explainer, explanation: Explanation) -> Plot:
    """The figure of one explanation, to be saved as ``name``; drawn within ``figures.style()``."""
    chosen = sorted({term.filter for part in explanation.logits for term in part.terms})
    maps = activation_maps(explainer.module, explainer.layer, explanation.inputs, chosen, explainer.subject.device)
    columns = [_rows(part) for part in explanation.logits]
    count = max(map(len, columns))
    width, height = PICTURE + 2 * (GAP + 0.55 + TILE + BARS) + 0.2, 0.75 + max(count * ROW, PICTURE + 0.75) + 0.1
    figure = Figure(figsize=(width, height))
    top = height - 0.75
    picture = figure.add_axes((0.1 / width, (top - PICTURE) / height, PICTURE / width, PICTURE / height))
    picture.imshow(enlarged(explanation.pixels, 192))
    picture.set_axis_off()
    figure.text(
        0.1 / width, (top - PICTURE - 0.08) / height, _headline(explainer, explanation), va="top", linespacing=1.45
    )
    figure.text(0.1 / width, (top + 0.1) / height, label(explanation.name, 24), va="bottom")
    values = [row.value for rows in columns for row in rows]
    limits = (min(0.0, *values) * 1.25, max(0.0, *values) * 1.45)
    for at, (part, rows) in enumerate(zip(explanation.logits, columns, strict=True)):
        left = 0.1 + PICTURE + GAP + at * (0.55 + TILE + BARS + GAP)
        _panel(figure, _title(explanation, part), rows, maps, explanation, left, top, (width, height), limits)
    called = explainer.subject.classes[explanation.predicted]
    return Plot(name, figure, f"{explanation.image}, called {called}: contributions of the filters to two logits.")


def _rows(part: ClassLogit) -> list[_Row]:
    """A class's filters by contribution, the largest first, the small ones of many together; and the bias."""
    terms = list(part.terms)
    shown, rest = terms, []
    if len(terms) > MOST:
        largest = sorted(terms, key=lambda term: -abs(term.contribution))[: MOST - 1]
        shown, rest = [t for t in terms if t in largest], [t for t in terms if t not in largest]
    rows = [_Row(f"filter {term.filter}", term.filter, term.contribution, _seen(term)) for term in shown]
    if rest:
        rows.append(_Row(f"{len(rest)} others", None, sum(term.contribution for term in rest)))
    rows.append(_Row("bias", None, part.bias))
    values, _ = adding_up([row.value for row in rows], part.logit, DIGITS)
    return [row._replace(value=value) for row, value in zip(rows, values, strict=True)]


def _seen(term: Term) -> str:
    typical = "" if term.typical is None else f" ({term.typical:.{DIGITS}f})"
    return f"r = {term.response:.{DIGITS}f}{typical}".replace("-", "−")


def _panel(
    figure: Figure,
    title: str,
    rows: Sequence[_Row],
    maps: Maps | None,
    explanation: Explanation,
    left: float,
    top: float,
    size: tuple[float, float],
    limits: tuple[float, float],
) -> None:
    """One class: a row for each filter, with what it sees and a bar for what it gives."""
    width, height = size
    figure.text((left - 0.5) / width, (top + 0.1) / height, title, va="bottom", fontweight="bold")
    for place, row in enumerate(rows):
        if row.filter is None or maps is None:
            continue
        bottom = top - (place + 1) * ROW + (ROW - TILE) / 2
        tile = figure.add_axes(((left + 0.15) / width, bottom / height, TILE / width, TILE / height))
        tile.imshow(spotlight(explanation.pixels, light(maps, 0, row.filter)))
        tile.set_axis_off()
    bars = figure.add_axes(
        ((left + 0.25 + TILE) / width, (top - len(rows) * ROW) / height, BARS / width, len(rows) * ROW / height)
    )
    places, values = np.arange(len(rows)), [row.value for row in rows]
    colours = [GREY if row.filter is None else ORANGE if row.value < 0 else BLUE for row in rows]
    bars.barh(places, values, color=colours, height=0.5)
    for place, row in enumerate(rows):
        shown = f"{row.value:+.{DIGITS}f}".replace("-", "−")
        bars.annotate(
            shown, (max(row.value, 0), place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
        )
        figure.text((left + 0.08) / width, (top - (place + 0.5) * ROW) / height, row.name, va="center", ha="right")
        if row.seen:
            seen = (left + 0.08) / width, (top - (place + 0.5) * ROW - 0.15) / height
            figure.text(*seen, row.seen, va="center", ha="right", fontsize=6.5, color=GREY)
    bars.axvline(0, color=INK, linewidth=0.6)
    bars.set_xlim(*limits)
    bars.set_ylim(len(rows) - 0.5, -0.5)
    bars.set_axis_off()


def _title(explanation: Explanation, part: ClassLogit) -> str:
    kind = "called" if part.index == explanation.predicted else "true" if part.index == explanation.true else "next"
    _, logit = adding_up([], part.logit, DIGITS)
    return f"{kind}: {label(part.name)}\nlogit {logit:.{DIGITS}f}, probability {100 * part.probability:.1f} %".replace(
        "-", "−"
    )


def _headline(explainer: Explainer, explanation: Explanation) -> str:
    classes = explainer.subject.classes
    true = "class not known" if explanation.true is None else f"true class {label(classes[explanation.true])}"
    full = f"full network: {label(classes[explanation.full_predicted])}"
    return f"{true}\n{full}\nr: response (in brackets\nthe class's typical one)"
