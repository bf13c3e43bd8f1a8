"""What is a table at heart: as a pandas frame, and as HTML where a notebook shows it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ..console import clean
from ..errors import ConfigError

_SHOWN = 200  # rows in a notebook
_LINES = 40  # rows in a terminal
_WHOLE = 20  # characters of a cell in a notebook that stay in one line, such as an interval's


class Table(NamedTuple):
    """Columns by name and rows of cells; a list in a cell is one cell."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Tabular:
    """Whatever has a ``table()``; notebooks and terminals show it as one."""

    def table(self) -> Table:
        """The table."""
        raise NotImplementedError(f"{type(self).__name__} must say what table it is: define `table`.")

    def numbers(self) -> Table:
        """The table for further work, where that on the screen is rounded and shortened."""
        return self.table()

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``. Raises ConfigError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise ConfigError("Frames need pandas: pip install 'ddeep[notebook]'.") from None
        _, columns, rows = self.numbers()
        return pandas.DataFrame([list(row) for row in rows], columns=list(columns))

    def __repr__(self) -> str:
        """The table in plain text, as much of it as a screen takes."""
        title, columns, rows = self.table()
        shown = [[clean(_shown(value)) for value in row] for row in (columns, *rows[:_LINES])]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
        more = [f"… and {len(rows) - _LINES} more rows"] if len(rows) > _LINES else []
        return "\n".join([clean(title), *lines, *more])

    def _repr_html_(self) -> str:
        title, columns, rows = self.table()
        head = "".join(f"<th>{escape(str(name))}</th>" for name in columns)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:_SHOWN])
        more = f"<p>… and {len(rows) - _SHOWN} more rows</p>" if len(rows) > _SHOWN else ""
        # A wide table scrolls: its title stays in sight.
        caption = f'<caption style="text-align:left">{escape(title)}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>{more}"


def _cell(value: Any) -> str:
    text = _shown(value)
    whole = ' style="white-space:nowrap"' if " " in text and len(text) <= _WHOLE else ""
    return f"<td{whole}>{escape(text)}</td>"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
