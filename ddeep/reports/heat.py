"""Tables whose cells are coloured by their values: the page's heat maps, which read as tables without any colour."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .style import readable_on, steps

LEVELS = 24


@dataclass(frozen=True)
class Cell:
    """``shade`` is the colour's CSS class; a ``marked`` cell is outlined."""

    text: str
    shade: str
    marked: bool = False


@dataclass(frozen=True)
class Heat:
    """A coloured table. ``rows`` and ``columns`` are indices of classes or filters; ``low`` and ``high`` end the scale.

    ``signed`` scales run from -high to high.
    """

    key: str
    title: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    cells: tuple[tuple[Cell, ...], ...]
    high: str
    signed: bool


def heat_table(
    key: str,
    title: str,
    values: Float[Tensor, "r c"],
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    digits: int = 2,
    largest: float | None = None,
    marked: Collection[tuple[int, int]] = (),
    root: bool = False,
    plus: bool = False,
    shaded_by: Float[Tensor, "r c"] | None = None,
) -> Heat:
    """Cells for ``values`` at ``rows`` × ``columns``; NaN gives an empty cell.

    With ``root`` colours follow the square root, which keeps small values visible beside large ones; ``plus`` shows
    the sign of positive values; ``marked`` holds (row, column) pairs. ``largest`` (default: the table's own largest
    magnitude) ends the scale. ``shaded_by`` gives the colours where they are not those of the values themselves.
    """
    shown = values[list(rows)][:, list(columns)].double()
    shades = shown if shaded_by is None else shaded_by[list(rows)][:, list(columns)].double()
    known = torch.nan_to_num(shown)
    if largest is None:
        largest = float(known.abs().max()) if known.numel() else 0.0
    cells = tuple(
        tuple(
            Cell(number(value, digits, plus), shade(colour, largest, root), (row, column) in marked)
            for column, value, colour in zip(columns, line, colours, strict=True)
        )
        for row, line, colours in zip(rows, shown.tolist(), shades.tolist(), strict=True)
    )
    signed = bool((known < 0).any())
    return Heat(key, title, tuple(rows), tuple(columns), cells, number(largest, digits), signed)


def shade(value: float, largest: float, root: bool = False) -> str:
    """The CSS class of a cell: ``n24`` (most negative) … ``z`` … ``p24``; empty for NaN."""
    if math.isnan(value):
        return ""
    part = abs(value) / largest if largest > 0 else 0.0
    level = round((math.sqrt(part) if root else part) * LEVELS)
    return "z" if level == 0 else f"{'n' if value < 0 else 'p'}{level}"


def number(value: int | float | None, digits: int = 2, plus: bool = False) -> str:
    """A number for readers: a real minus sign, no minus zero, empty for None and NaN."""
    if value is None or math.isnan(value):
        return ""
    text = f"{value:+.{digits}f}" if plus else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def shades_css() -> str:
    """The rules of all cell colours, for light and dark pages."""
    rules = []
    for level, light, dark in steps(LEVELS):
        name = "z" if level == 0 else f"{'n' if level < 0 else 'p'}{abs(level)}"
        rules.append(
            f".{name}{{background:{light};background:light-dark({light},{dark});"
            f"color:{readable_on(light)};color:light-dark({readable_on(light)},{readable_on(dark)})}}"
        )
    return "\n".join(rules)
