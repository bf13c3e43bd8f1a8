"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from markupsafe import Markup

from ..errors import DataError
from ..experiments.compare import SCHEMA
from ..experiments.settings import CompareConfig
from ..files.regular import require_inside
from ..files.sealed import check_files, read_sealed
from ..results.comparison import check_comparison_document, table_of
from .heat import Heat, heat_table, number
from .page import command, provenance, render
from .style import Plot, inline_svg

FILE = "comparison.json"


class Column(NamedTuple):
    """A column of the table of results; ``head`` marks the one that names the row."""

    name: str
    number: bool
    head: bool


class Best(NamedTuple):
    """The most accurate row of a stage, and the strategies that cannot be told from it at its k."""

    stage: str
    strategy: str
    k: str
    value: str
    alike: str


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
    drawn: dict[str, list[Markup]] = {"accuracy": [], "agreement": [], "tradeoff": []}
    for plot in plots:
        drawn[plot.name.partition("-")[0]].append(Markup(inline_svg(plot)))
    bests = _bests(document["rows"])
    return render(
        "comparison.html.jinja",
        model=document["model"],
        dataset=document["dataset"],
        ks=[_k(k) for k in document["k"]],
        strategies=strategies,
        networks=[{**network, "interval": _interval(network["full_interval"])} for network in document["networks"]],
        bests=bests,
        learned=any(best.stage == "learned" for best in bests),
        command=command("compare", CompareConfig, document.get("config") or {}),
        plots=drawn,
        columns=columns,
        rows=[
            {"k": _k(row["k"]), "cells": [_shown(cell) for cell in line]}
            for row, line in zip(document["rows"], cells, strict=True)
        ],
        agreements=_agreements(document, strategies),
        skipped=document["skipped"],
        facts=_facts(document),
    )


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
    """The best row of each stage that any row has."""
    found = []
    for stage in ("decomposed", "learned", "refit"):
        judged = [row for row in rows if row.get(stage) is not None]
        if judged:
            best = max(judged, key=lambda row: row[stage])
            found.append(Best(stage, best["strategy"], _k(best["k"]), number(best[stage]), _alike(best, rows)))
    return found


def _alike(best: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The other strategies that cannot be told from the best of this row's k; empty where it is alone, or not best."""
    place = [best[name] for name in ("weights", "layer", "k")]
    here = [row for row in rows if [row[name] for name in ("weights", "layer", "k")] == place]
    if best.get("best_difference") is not None or not best.get("best_alike"):
        return ""
    return ", ".join(row["strategy"] for row in here if row is not best and row.get("best_alike"))


def _agreements(document: dict[str, Any], strategies: list[str]) -> list[tuple[str, Heat, Heat]]:
    """For every place and k, the two matrices over the strategies."""
    several = len({(table["weights"], table["layer"]) for table in document["agreement"]}) > 1
    found = []
    for at, table in enumerate(document["agreement"]):
        place = f"k = {_k(table['k'])}" + (f", {table['layer']}, {table['weights']}" if several else "")
        chosen = [strategies.index(name) for name in table["strategies"]]
        heats = []
        for kind in ("jaccard", "rank_agreement"):
            values = torch.full((len(strategies), len(strategies)), torch.nan, dtype=torch.float64)
            values[torch.tensor(chosen)[:, None], torch.tensor(chosen)] = torch.tensor(
                [[torch.nan if value is None else value for value in row] for row in table[kind]], dtype=torch.float64
            )
            heats.append(heat_table(f"{kind}-{at}", "", values, chosen, chosen, largest=1.0))
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
