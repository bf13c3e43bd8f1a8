"""The page of a comparison."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from markupsafe import Markup

from ..errors import DataError
from ..experiments.compare import SCHEMA
from ..experiments.own import LOADERS
from ..experiments.settings import CompareConfig
from ..files.regular import require_inside
from ..files.sealed import check_files, read_sealed
from ..results.comparison import check_comparison_document
from ..results.comparison_summary import Place, places_of, sentence, sentences
from ..results.comparison_table import meanings_of, table_of
from .dots import dots, few
from .heat import Heat, heat_table, number
from .page import call, command, provenance, render
from .style import Plot, inline_svg

FILE = "comparison.json"


class Column(NamedTuple):
    """A column of the table of results; ``head`` marks the one that names the row."""

    name: str
    number: bool
    head: bool


class Best(NamedTuple):
    """The highest accuracy of a stage, and whose it is: one strategy's, or several that cannot be told apart."""

    stage: str
    value: str
    whose: str


def read_comparison(folder: Path) -> dict[str, Any]:
    """The document of a comparison's directory. Raises DataError where it is not one."""
    path = folder / FILE
    try:
        sealed = read_sealed(path)
        require_inside(folder, FILE)
        check_files(folder, sealed)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not a comparison: {error}.") from None
    document = sealed.document
    if document.get("schema") != SCHEMA:
        found = str(document.get("schema"))[:60]
        raise DataError(f"{path} is not a comparison this ddeep reads: schema {found!r}.")
    try:
        check_comparison_document(document)
    except ValueError as error:
        raise DataError(f"{path} is not a whole comparison: {error}.") from None
    return document


def comparison_page(document: dict[str, Any], plots: list[Plot]) -> str:
    """The whole page as text."""
    names, cells = table_of(document)
    columns = [Column(name, name not in ("strategy", "weights", "layer"), name == "strategy") for name in names]
    strategies = list(dict.fromkeys(row["strategy"] for row in document["rows"]))
    drawn: dict[str, list[Markup]] = {"agreement": [], "budgets": [], "each": [], "few": [], "tradeoff": []}
    for plot in plots:
        drawn.get(plot.name.partition("-")[0], []).append(Markup(inline_svg(plot)))
    return render(
        "comparison.html.jinja",
        styles=("comparison.css",),
        scripts=("report.js", "comparison.js"),
        model=document["model"],
        dataset=document["dataset"],
        ks=[_k(k) for k in document["k"]],
        strategies=strategies,
        networks=[{**network, "interval": _interval(network["full_interval"])} for network in document["networks"]],
        sentences=[_set(text) for text in sentences(document)],
        bests=_bests(document["rows"]),
        places=[_place_view(place) for place in places_of(document)],
        command=(call if document["dataset"] == LOADERS else command)(
            "compare", CompareConfig, document.get("config") or {}
        ),
        plots=drawn,
        columns=columns,
        rows=[
            {"k": _k(row["k"]), "cells": [_shown(cell) for cell in line]}
            for row, line in zip(document["rows"], cells, strict=True)
        ],
        meanings=meanings_of(document),
        agreements=_agreements(document, strategies),
        skipped=document["skipped"],
        facts=_facts(document),
    )


def _place_view(place: Place) -> dict[str, Any]:
    """One layer of one checkpoint: a chart for each k, and every strategy's accuracies over all k."""
    charts = [dots(place, k) for k in place.ks]
    bands = [(at, chart.null) for at, chart in enumerate(charts) if chart.null is not None]
    curves: dict[str, list[str]] = {}
    for at, chart in enumerate(charts):
        for dot in chart.rows:
            curves.setdefault(dot.strategy, []).append(f"{at}:{dot.value:.3f}:{dot.low:.3f}:{dot.high:.3f}")
    return {
        "name": place.name,
        "k": _k(place.chosen_k),
        "ks": [_k(k) for k in place.ks],
        "full": place.network["full"],
        "band": " ".join(f"{at}:{low:.3f}:{high:.3f}" for at, (low, high) in bands),
        "charts": [(_k(chart.k), chart, _set(sentence(place, chart.k))) for chart in charts],
        "curves": {name: " ".join(points) for name, points in curves.items()},
        "few": few(place),
    }


def _set(text: str) -> str:
    """A terminal's sentence as a page has it: a minus for a hyphen, and no number parted from its sign or unit."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)
    return re.sub(r"(?<=\d) (?=%)|(?<=[p<=]) (?=[<=\d])", "\u00a0", text)


def _k(k: int | float) -> str:
    return f"{k:g}"


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:g}"
    return "–" if cell is None else str(cell).replace("-", "−") if _is_figure(str(cell)) else str(cell)


def _is_figure(text: str) -> bool:
    return text.startswith("-") and text[1:2].isdigit()


def _interval(ends: list[float]) -> str:
    return f"{number(ends[0])} to {number(ends[1])}"


def _bests(rows: list[dict[str, Any]]) -> list[Best]:
    """The highest accuracy of each stage that any row has."""
    found = []
    for stage in ("decomposed", "learned", "refit"):
        judged = [row for row in rows if row.get(stage) is not None]
        if judged:
            best = max(judged, key=lambda row: row[stage])
            found.append(Best(stage, number(best[stage]), f"{_whose(stage, best, judged)}, k = {_k(best['k'])}"))
    return found


def _whose(stage: str, best: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The strategies with that accuracy, and how many more cannot be told from it, at the same place and k."""
    names = ("weights", "layer", "k", "budget")
    here = [row for row in rows if all(row.get(name) == best.get(name) for name in names)]
    same = [row for row in here if row[stage] == best[stage]]
    whose = " and ".join(row["strategy"] for row in same) if len(same) < 3 else f"{len(same)} strategies"
    more = sum(bool(row.get("best_alike")) and row not in same for row in here)
    judged = stage == ("decomposed" if best["refit"] is None else "refit")
    return f"{whose}, not told from {more} more" if more and judged else whose


def _agreements(document: dict[str, Any], strategies: list[str]) -> list[tuple[str, Heat, Heat]]:
    """For every place and k, the two matrices over the strategies."""
    several = len({(table["weights"], table["layer"]) for table in document["agreement"]}) > 1
    found = []
    for at, table in enumerate(document["agreement"]):
        place = f"k = {_k(table['k'])}" + (f", {table['layer']}, {table['weights']}" if several else "")
        chosen = [strategies.index(name) for name in table["strategies"]]
        heats = []
        for kind, title in (("jaccard", "Jaccard overlap"), ("rank_agreement", "Rank agreement")):
            values = torch.full((len(strategies), len(strategies)), torch.nan, dtype=torch.float64)
            values[torch.tensor(chosen)[:, None], torch.tensor(chosen)] = torch.tensor(
                [[torch.nan if value is None else value for value in row] for row in table[kind]], dtype=torch.float64
            )
            heats.append(heat_table(f"{kind}-{at}", f"{title}, {place}", values, chosen, chosen, largest=1.0))
        found.append((place, heats[0], heats[1]))
    return found


def _facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for network in document["networks"]:
        layers = ", ".join(f"{layer['layer']} ({layer['filters']} filters)" for layer in network["layers"])
        images = ", ".join(f"{count:,} {split}" for split, count in network["images"].items())
        rows += [("Weights", str(network["weights"])), ("Layers", layers), ("Images", images)]
        rows += [(f"SHA-256, {part}", str(value)) for part, value in network["hashes"].items()]
    return rows + provenance(document)
