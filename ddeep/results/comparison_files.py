"""A comparison as a table on screen, and as the files of its run directory."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

from .. import console
from ..files.atomic import written_whole
from ..reports.comparison_figures import draw
from ..reports.style import save

# The rows' own fields, in the order of the CSV file; metrics follow.
FIELDS = (
    "weights",
    "layer",
    "strategy",
    "k",
    "filters_per_class",
    "distinct_filters",
    "filters",
    "decomposed",
    "decomposed_interval",
    "null_mean",
    "p_value",
    "learned",
    "learned_interval",
    "refit",
    "refit_interval",
    "essentiality_gap",
    "essentiality_spread",
    "seconds",
)


def default_out(document: dict[str, Any]) -> Path:
    """A run directory of its own: ``runs/<time>-compare-<model>-<dataset>``."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-compare-{document['model']}-{document['dataset']}"
    return Path("runs") / name.replace("/", "-")


def save_comparison(document: dict[str, Any], out: Path) -> Path:
    """Write ``comparison.json``, ``comparison.csv`` and the figures as PNG and SVG, whole or not at all."""
    with written_whole(out) as folder:
        folder.mkdir()
        (folder / "comparison.json").write_text(console.json_text(document) + "\n", encoding="utf-8")
        (folder / "comparison.csv").write_text(_csv(document), encoding="utf-8", newline="")
        for plot in draw(document):
            save(plot, folder)
    return out


def metric_columns(document: dict[str, Any]) -> list[str]:
    """The rows' fields that are metrics."""
    return [name for name in document["rows"][0] if name not in (*FIELDS, "metrics")]


def _csv(document: dict[str, Any]) -> str:
    """One line for each row; an interval takes two columns, its ends."""
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [*FIELDS, *metric_columns(document)]
    writer.writerow([name for column in columns for name in _names(column)])
    for row in document["rows"]:
        writer.writerow([value for column in columns for value in _values(column, row[column])])
    return text.getvalue()


def _names(column: str) -> list[str]:
    base = column.removesuffix("_interval")
    return [column] if base == column else [f"{base}_low", f"{base}_high"]


def _values(column: str, value: Any) -> list[Any]:
    return list(value or (None, None)) if column.endswith("_interval") else [value]


def table_of(document: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells for the screen; checkpoints and layers show only where there are several."""
    rows = document["rows"]
    several = [name for name in ("weights", "layer") if len({row[name] for row in rows}) > 1]
    measured = metric_columns(document)
    stages = [name for name in ("refit", "learned", "decomposed") if any(row.get(name) is not None for row in rows)]
    accuracies = [title for stage in stages for title in _TITLES[stage]]
    columns = [*several, "k", "strategy", *accuracies, "p", *measured, "gap %", "filters"]
    return columns, [
        [
            *(row[name] for name in several),
            row["k"],
            row["strategy"],
            *(cell for stage in stages for cell in _accuracy(row, stage)),
            _shown(row["p_value"], ".3f"),
            *(_shown(row[name], ".4f") for name in measured),
            _shown(row["essentiality_gap"], ".1f"),
            row["distinct_filters"],
        ]
        for row in rows
    ]


# The learned head's interval is in the files alone: most screens have no room for a third.
_TITLES = {"refit": ["refit %", "95 %"], "learned": ["learned %"], "decomposed": ["decomposed %", "95 %"]}


def _accuracy(row: dict[str, Any], stage: str) -> list[str | None]:
    """The cells below the stage's titles."""
    return [_shown(row.get(stage), ".2f"), _interval(row.get(f"{stage}_interval"))][: len(_TITLES[stage])]


def _shown(value: int | float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _interval(ends: list[float] | None) -> str | None:
    return None if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
