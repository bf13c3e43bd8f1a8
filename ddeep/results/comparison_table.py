"""The columns of a comparison, each declared once: for its file of numbers, its tables, and what is said of them.

A new figure is a ``Column`` in ``COLUMNS`` and a field of that name in every row of the document.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..registry.registry import registry

Row = dict[str, Any]
Form = Callable[[Row], Any]  # a row's cell


@dataclass(frozen=True)
class Column:
    """What the rows' ``field`` is called, and how it is shown: where there is room, and where there is little.

    Without a form the column is not in that table; without either it is in the file alone. ``meaning`` says in a line
    which unit it has, and what more of it means.
    """

    field: str
    title: str = ""
    wide: Form | None = None
    narrow: Form | None = None
    meaning: str = ""


def _plain(field: str) -> Form:
    return lambda row: row[field]


def _number(field: str, form: str) -> Form:
    return lambda row: None if row.get(field) is None else format(row[field], form)


def _ends(field: str) -> Form:
    return lambda row: None if row.get(field) is None else "{:.2f} to {:.2f}".format(*row[field])


def _p(*fields: str) -> Form:
    """A probability: the first of these fields that is there."""

    def form(row: Row) -> str | None:
        value = next((row[field] for field in fields if row.get(field) is not None), None)
        return None if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"

    return form


def _with_half_width(stage: str) -> Form:
    """An accuracy with half of its interval's width, such as 90.67 ± 0.57."""

    def form(row: Row) -> str | None:
        if row.get(stage) is None:
            return None
        low, high = row[f"{stage}_interval"]
        return f"{row[stage]:.2f} ± {(high - low) / 2:.2f}"

    return form


def _decomposed(row: Row) -> Any:
    """Its interval is told where no accuracy after a refit has one beside it."""
    return (_with_half_width("decomposed") if row["refit"] is None else _number("decomposed", ".2f"))(row)


HALF = " (± half the width of its 95 % interval, whose ends --wide tells: near 100 % it lies below)"

# In the order of the tables. Each title has its unit; the file of numbers takes the fields' names.
COLUMNS = (
    Column("weights", "weights", _plain("weights"), _plain("weights")),
    Column("layer", "layer", _plain("layer"), _plain("layer")),
    Column("k", "k", _plain("k"), _plain("k"), "filters a class may use: fewer explain more shortly"),
    Column("budget", "budget", _number("budget", "d"), _number("budget", "d"), "different filters all classes may use"),
    Column("strategy", "strategy", _plain("strategy"), _plain("strategy")),
    Column("filters_per_class"),
    Column(
        "refit",
        "refit %",
        _number("refit", ".2f"),
        _with_half_width("refit"),
        "test images that are right once the head is fitted anew to those filters: more is better" + HALF,
    ),
    Column("refit_interval", "95 %", _ends("refit_interval")),
    Column(
        "learned",
        "learned %",
        _number("learned", ".2f"),
        meaning="test images that are right with the head that the strategy has learned itself",
    ),
    Column("learned_interval"),
    Column(
        "decomposed",
        "decomposed %",
        _number("decomposed", ".2f"),
        _decomposed,
        "test images that are right with the network's own weights, nothing fitted",
    ),
    Column("decomposed_interval", "95 %", _ends("decomposed_interval")),
    Column(
        "best_difference",
        "to best",
        _number("best_difference", "+.2f"),
        meaning="points less than the most accurate of the same k (and budget)",
    ),
    Column("best_difference_interval"),
    Column("best_p"),
    Column(
        "best_p_holm",
        "p best",
        _p("best_p_holm"),
        _p("best_p_holm"),
        "chance of so large a difference to the most accurate if there were none (McNemar's test, Holm's correction): "
        "above 0.05 the two cannot be told apart",
    ),
    Column("best_alike"),
    Column("full_difference"),
    Column("full_difference_interval"),
    Column("full_p"),
    Column(
        "full_p_holm",
        "p full",
        _p("full_p_holm"),
        meaning="the same against the full network",
    ),
    Column("null_mean"),
    Column("p_value"),
    Column(
        "refit_p_value",
        "p random",
        _p("refit_p_value", "p_value"),
        _p("refit_p_value", "p_value"),
        "share of random selections (20 with refits, 200 without) at least as accurate, this one counted along, so "
        "0.048 (0.005) at least: less is better",
    ),
    Column("refit_l2"),
    Column("refit_kept"),
    Column(
        "essentiality_gap",
        "gap, points",
        _number("essentiality_gap", ".1f"),
        meaning="accuracy of a class with noise at all other filters, less that with noise at its own: above 0 its own "
        "matter more",
    ),
    Column("essentiality_spread"),
    Column(
        "distinct_filters",
        "filters",
        _plain("distinct_filters"),
        meaning="how many different ones all classes together use",
    ),
    Column("filters"),
    Column("seconds"),
)
FIELDS = tuple(column.field for column in COLUMNS)


def metric_columns(document: dict[str, Any]) -> list[Column]:
    """The rows' fields that are metrics: whatever ``COLUMNS`` does not know."""
    names = [name for name in document["rows"][0] if name not in (*FIELDS, "metrics")]
    summaries = {spec.name: spec.summary for spec in registry().metrics.unambiguous()}
    meanings = {name: summaries.get(name.partition(":")[0], "") for name in names}
    return [Column(name, name, _number(name, ".4f"), meaning=meaning) for name, meaning in meanings.items()]


def columns_of(document: dict[str, Any], *, wide: bool = True) -> list[tuple[Column, Form]]:
    """The columns of a table, each with its form: none that is empty, and places only where there are several."""
    rows = document["rows"]
    one = [name for name in ("weights", "layer") if len({row[name] for row in rows}) == 1]
    forms = [
        (column, column.wide if wide else column.narrow)
        for column in (*COLUMNS, *metric_columns(document))
        if column.field not in one
    ]
    return [(column, form) for column, form in forms if form and any(form(row) is not None for row in rows)]


def table_of(document: dict[str, Any], *, wide: bool = True) -> tuple[list[str], list[list[Any]]]:
    """Titles and cells, for the screen: all that there is, or (``wide`` is False) what matters most."""
    columns = columns_of(document, wide=wide)
    return [column.title for column, _ in columns], [[form(row) for _, form in columns] for row in document["rows"]]


def meanings_of(document: dict[str, Any], *, wide: bool = True) -> list[tuple[str, str]]:
    """What is said of the columns of ``table_of``: title and meaning."""
    columns = columns_of(document, wide=wide)
    return [(column.title, column.meaning) for column, _ in columns if column.meaning]


def csv_of(document: dict[str, Any]) -> str:
    """One line for each row with every field; an interval takes two columns, its ends."""
    text = io.StringIO()
    writer = csv.writer(text)
    columns, rows = numbers_of(document)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def numbers_of(document: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of all figures, as numbers."""
    fields = [*FIELDS, *(column.field for column in metric_columns(document))]
    rows = [[value for field in fields for value in _values(field, row.get(field))] for row in document["rows"]]
    return [name for field in fields for name in _names(field)], rows


def _names(field: str) -> Sequence[str]:
    base = field.removesuffix("_interval")
    return [field] if base == field else [f"{base}_low", f"{base}_high"]


def _values(field: str, value: Any) -> Sequence[Any]:
    return list(value or (None, None)) if field.endswith("_interval") else [value]
