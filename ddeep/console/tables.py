"""Tables as a terminal has room for them: words go on in the next line, numbers never."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2  # columns of the terminal between those of a table
_NUMBER = r"[-+<]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?%)?"
_NUMERIC = re.compile(rf"|-|{_NUMBER}(( ±| to) {_NUMBER})?")  # with an uncertainty, or a range


def numeric(text: str) -> bool:
    """Whether a cell is a number, perhaps with its uncertainty, or empty."""
    return _NUMERIC.fullmatch(text) is not None


def drawn(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], keys: int, room: int
) -> Iterator[tuple[Table, int]]:
    """The table, or several below each other that all begin with the first ``keys`` columns; each with its width."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    widths, longest = [], []
    for at, name in enumerate(columns):
        texts = [row[at] for row in cells]
        unbroken = texts if right[at] else [word for text in texts for word in text.split()]
        widths.append(max(map(cell_len, [name, *texts])))
        longest.append(max(map(cell_len, [*name.split(), *unbroken]), default=0))
    # Words are broken, if need be, so that the longest number, and those among the keys, have room beside them.
    number = max((length for at, length in enumerate(longest) if right[at] and at >= keys), default=0)
    number += sum(length + GAP for at, length in enumerate(longest[:keys]) if right[at])
    most = max(GAP, min(2 * room // 3, room - GAP - number))
    least = [length if right[at] else min(length, most) for at, length in enumerate(longest)]
    for block in _blocks(least, keys, room):
        shown = _narrowed([widths[at] for at in block], [least[at] for at in block], room)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        for at, width in zip(block, shown, strict=True):
            side: Any = "right" if right[at] else "left"
            table.add_column(Text(columns[at]), width=width, justify=side, overflow="fold", vertical="top")
        for row in cells:
            table.add_row(*(Text(row[at]) for at in block))
        yield table, sum(shown) + GAP * len(shown)


def _blocks(least: Sequence[int], keys: int, room: int) -> list[list[int]]:
    """The places of columns at these widths, in as few tables as have room; each begins with the first ``keys``."""
    first = list(range(min(keys, len(least))))
    blocks = [list(first)]
    for at in range(len(first), len(least)):
        taken = sum(least[other] + GAP for other in blocks[-1])
        if taken + least[at] > room and len(blocks[-1]) > len(first):
            blocks.append(list(first))
        blocks[-1].append(at)
    return blocks


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths, those above their ``least`` made smaller, the widest first, until all have room."""
    found = list(widths)
    for _ in range(max(0, sum(found) + GAP * (len(found) - 1) - room)):
        loose = [at for at in range(len(found)) if found[at] > least[at]]
        if loose:
            found[max(loose, key=lambda at: found[at])] -= 1
    return found
