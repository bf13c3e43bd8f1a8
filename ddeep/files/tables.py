"""What is a table at heart: as a pandas frame, and as HTML where a notebook shows it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ..errors import ConfigError

_SHOWN = 200  # rows in a notebook


class Table(NamedTuple):
    """Columns by name and rows of cells; a list in a cell is one cell."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Tabular:
    """Whatever has a ``table()``; notebooks show it as one."""

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

    def _repr_html_(self) -> str:
        title, columns, rows = self.table()
        head = "".join(f"<th>{escape(str(name))}</th>" for name in columns)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:_SHOWN])
        more = f"<p>… and {len(rows) - _SHOWN} more rows</p>" if len(rows) > _SHOWN else ""
        caption = f"<caption>{escape(title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, list | tuple):
        return f"<td>{escape(' '.join(map(_text, value)))}</td>"
    return f"<td>{escape(_text(value))}</td>"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
