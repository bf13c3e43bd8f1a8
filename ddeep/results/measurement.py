"""A measurement as a table and as files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ..files.sealed import write_sealed
from .folder import save_result


def table_of(document: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: every layer with the numbers of every metric, lists and tables left out."""
    columns = ["layer", "filters"]
    rows = [[row["layer"], row["filters"]] for row in document["layers"]]
    for name in document["metrics"]:
        figures = [row[name] for row in document["layers"]]
        parts = next((list(figure) for figure in figures if isinstance(figure, dict)), None)
        for part in parts if parts is not None else [None]:
            values = [figure.get(part) if part and isinstance(figure, dict) else figure for figure in figures]
            if any(isinstance(value, list | dict) for value in values):
                continue
            columns.append(name if part is None else f"{name} {part.replace('_', ' ')}")
            for row, value in zip(rows, values, strict=True):
                row.append(value)
    return columns, rows


def save_measurement(document: dict[str, Any], out: Path) -> Path:
    """Write ``measurement.json`` and ``measure.csv`` into a folder; return where (``save_result``)."""
    columns, rows = table_of(document)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)

    def write(folder: Path) -> None:
        (folder / "measure.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
        write_sealed(folder / "measurement.json", document, ["measure.csv"])

    return save_result(out, write)
