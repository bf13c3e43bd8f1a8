"""The notebooks run from their first cell to their last, and what is kept in them is what they show."""

from __future__ import annotations

import re
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
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
# What another processor may change. One trains a network, of which another rounding makes another one: only the words
# and the network's accuracies are the same, so many points apart at most.
ONE_IMAGE, OTHER_NETWORK = 0.3, 5.0


def shown(notebook: Any) -> list[list[str]]:
    """What kinds of things each cell of code shows."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[kind for output in cell.outputs for kind in sorted(output.get("data", {"text": ""}))] for cell in code]


def told(notebook: Any) -> list[str]:
    """What each cell of code prints and writes in tables, without marks and pictures."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    texts = []
    for cell in code:
        found = [output.get("data", {"text/plain": output.get("text", "")}) for output in cell.outputs]
        text = " ".join(data.get("text/html", data.get("text/plain", "")) for data in found)
        texts.append(" ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split()))
    return texts


def compare(kept: list[str], seen: list[str], trains: bool) -> None:
    """The same words in every cell, and the same numbers as far as another processor gives them, too."""
    assert [NUMBER.sub("#", text) for text in seen] == [NUMBER.sub("#", text) for text in kept]
    for before, now in zip(kept, seen, strict=True):
        if not trains or "'finetuned'" in before:
            numbers = [float(number) for number in NUMBER.findall(now)]
            expected = [float(number) for number in NUMBER.findall(before)]
            assert numbers == pytest.approx(expected, rel=0.01, abs=OTHER_NETWORK if trains else ONE_IMAGE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_did(path: Path) -> None:
    before, now = nbformat.read(path, as_version=4), executed(path)
    kept = shown(before)
    assert shown(now) == kept
    compare(told(before), told(now), trains=path.stem == "your-own-network")
    kinds = {kind for cell in kept for kind in cell}
    assert {"text/html", "image/png"} <= kinds  # tables and pictures
    assert path.stat().st_size < MOST_BYTES


def test_there_are_both() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compare-look-decide", "your-own-network"]


def test_another_figure_or_word_is_found() -> None:
    compare(["full 94.71 %"], ["full 94.72 %"], trains=False)
    for other in ("full 95.71 %", "refit 94.71 %", "full 94.71 % 3"):
        with pytest.raises(AssertionError):
            compare(["full 94.71 %"], [other], trains=False)
    compare(["filters 3 5", "{'finetuned': 90.9}"], ["filters 7 1", "{'finetuned': 91.9}"], trains=True)
    with pytest.raises(AssertionError):
        compare(["{'finetuned': 90.9}"], ["{'finetuned': 60.9}"], trains=True)
