"""The notebooks run from their first cell to their last, and what is kept in them is what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")

from studies.notebooks import FOLDER, executed  # noqa: E402 - after the libraries that it needs

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 300_000


def shown(notebook: Any) -> list[list[str]]:
    """What kinds of things each cell of code shows."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[kind for output in cell.outputs for kind in sorted(output.get("data", {"text": ""}))] for cell in code]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_did(path: Path) -> None:
    kept = shown(nbformat.read(path, as_version=4))
    assert shown(executed(path)) == kept
    kinds = {kind for cell in kept for kind in cell}
    assert {"text/html", "image/png"} <= kinds  # tables and pictures
    assert path.stat().st_size < MOST_BYTES


def test_there_are_both() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compare-look-decide", "your-own-network"]
