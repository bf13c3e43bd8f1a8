"""The notebooks run from their first cell to their last, and what is kept in them is what they show."""

from __future__ import annotations

import re
from collections.abc import Callable
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
# What another processor may change. Where a network was trained, another rounding has made another one: only the words
# and the network's accuracies are the same, so many points apart at most.
ONE_IMAGE, OTHER_NETWORK = 0.3, 5.0
TRAINING = re.compile(r"ddeep train|optimizer\.step")
NEEDS = {"imagenet": ("tiny-imagenet-10", "ddeep_efficientnet_lite")}  # data, and a plugin
OF_COMMANDS = {"write-a-plugin"}  # whose tables are those of the command line
OF_FEWER = {"imagenet": 0.4}  # one image of 250


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: Any) -> list[list[str]]:
    """What kinds of things each cell of code shows."""
    return [
        [kind for output in cell.outputs for kind in sorted(output.get("data", {"text": ""}))]
        for cell in code(notebook)
    ]


def told(notebook: Any) -> list[str]:
    """What each cell of code prints and writes in tables, without marks and pictures."""
    texts = []
    for cell in code(notebook):
        found = [output.get("data", {"text/plain": output.get("text", "")}) for output in cell.outputs]
        text = " ".join(data.get("text/html", data.get("text/plain", "")) for data in found)
        texts.append(" ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split()))
    return texts


def trained(notebook: Any) -> list[bool]:
    """Of each cell of code, whether a network has been trained by then."""
    cells = [bool(TRAINING.search(cell.source)) for cell in code(notebook)]
    return [any(cells[: number + 1]) for number in range(len(cells))]


def compare(kept: list[str], seen: list[str], trained: list[bool], image: float = ONE_IMAGE) -> None:
    """The same words in every cell, and the same numbers as far as another processor gives them, too."""
    assert [NUMBER.sub("#", text) for text in seen] == [NUMBER.sub("#", text) for text in kept]
    for before, now, other in zip(kept, seen, trained, strict=True):
        if not other or "'finetuned'" in before:
            numbers = [float(number) for number in NUMBER.findall(now)]
            expected = [float(number) for number in NUMBER.findall(before)]
            assert numbers == pytest.approx(expected, rel=0.01, abs=OTHER_NETWORK if other else image)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_did(path: Path, data_dir: Path, real_data: Callable[[str], Path]) -> None:
    if path.stem in NEEDS:
        images, plugin = NEEDS[path.stem]
        real_data(images)
        pytest.importorskip(plugin)
    before, now = nbformat.read(path, as_version=4), executed(path, data_dir)
    kept = shown(before)
    assert shown(now) == kept
    compare(told(before), told(now), trained(before), OF_FEWER.get(path.stem, ONE_IMAGE))
    kinds = {kind for cell in kept for kind in cell}
    assert ({"image/png"} if path.stem in OF_COMMANDS else {"text/html", "image/png"}) <= kinds  # tables and pictures
    assert path.stat().st_size < MOST_BYTES


def test_there_are_four() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "compare-look-decide",
        "imagenet",
        "write-a-plugin",
        "your-own-network",
    ]


def test_another_figure_or_word_is_found() -> None:
    compare(["full 94.71 %"], ["full 94.72 %"], [False])
    for other in ("full 95.71 %", "refit 94.71 %", "full 94.71 % 3"):
        with pytest.raises(AssertionError):
            compare(["full 94.71 %"], [other], [False])
    compare(["filters 3 5", "{'finetuned': 90.9}"], ["filters 7 1", "{'finetuned': 91.9}"], [True, True])
    with pytest.raises(AssertionError):
        compare(["{'finetuned': 90.9}"], ["{'finetuned': 60.9}"], [True])


def test_numbers_count_until_a_network_is_trained() -> None:
    cells = [nbformat.v4.new_code_cell(text) for text in ("ddeep run", "%%sh\nddeep train --epochs 3", "ddeep run")]
    assert trained(nbformat.v4.new_notebook(cells=cells)) == [False, True, True]
