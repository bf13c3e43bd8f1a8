"""The pictures of documents are of the tables that stand beside them, and are drawn from these alone."""

from __future__ import annotations

import pytest
from PIL import Image

from studies.pictures import DOCS, KEY, PICTURES, digest, rows_of, table

DRAWN = [name for name, (_, source) in PICTURES.items() if source]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_of_what_its_page_says_now(name: str) -> None:
    with Image.open(DOCS / f"{name}.png") as picture:
        kept = picture.text[KEY]  # type: ignore[attr-defined]
    assert kept == digest(name), f"python -m studies.pictures {name}"
    _, source = PICTURES[name]
    page = source[0] if source else "start.md"
    assert f"]({name}.png)" in (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_drawn_from_the_table(name: str) -> None:
    rows = rows_of(name)
    drawn = PICTURES[name][0](rows)
    axes = drawn.axes
    said = {
        "performance": lambda: {label.get_text() for one in axes for label in one.get_yticklabels()},
        "reproduction": lambda: {f"{y:.2f}" for line in axes[0].lines for y in line.get_ydata()},
        "head-forms": lambda: {label.get_text() for label in axes[0].get_xticklabels()},
        "cuts": lambda: {f"{line.get_xdata()[0]:.2f}".replace("-", "−") for line in axes[0].lines},
    }[name]()
    wanted = {
        "performance": {f"{row[1]}:  {float(row[2]):.3g}" for row in rows if row[0] in ("breadth", "training")},
        "reproduction": {cell for row in rows[1:] for cell in row[1:]},
        "head-forms": set(rows[0][2:]),
        "cuts": {row[4].split(" ")[0] for row in rows[1:]},
    }[name]
    assert wanted <= said


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"reproduction\.md has no table that begins with 'absent'"):
        table("reproduction.md", "absent")
