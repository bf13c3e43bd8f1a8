"""The page of strategies is written from outcomes image by image, and claims nothing that these do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from studies.paths import ROOT
from studies.strategies_tables import Results, draw, fill

KS = (2, 5)
IMAGES = 400


def outcomes(wrong: range) -> np.ndarray:
    right = np.ones(IMAGES, bool)
    right[list(wrong)] = False
    return right


@pytest.fixture
def results() -> Results:
    """Ours is ahead beyond chance at k = 2 of the first network, within it behind at k = 5, far behind elsewhere."""
    right = {}
    for subject, k, ours in (("one", 2, 10), ("one", 5, 62), ("two", 2, 200), ("two", 5, 200)):
        found = {"pruned-refit": outcomes(range(ours)), "paper": outcomes(range(60)), "random": outcomes(range(399))}
        right |= {(subject, stage, k): found for stage in ("refit", "decomposed")}
        right[subject, "learned", k] = {"pruned-refit": outcomes(range(ours))}
    seconds = {(subject, name): 2.0 for subject in ("one", "two") for name in ("pruned-refit", "paper")}
    return Results(("one", "two"), KS, right, {name: outcomes(range(5)) for name in ("one", "two")}, seconds)


def test_bold_is_what_cannot_be_told_from_the_best(results: Results) -> None:
    table = fill("<!-- table accuracies refit 5 --><!-- end -->", results)
    assert table.splitlines()[0] == "| k = 5 | one | two |"
    assert "| the full network | 98.75 | 98.75 |" in table
    assert binomtest(0, 2).pvalue == 0.5  # the two images that ours misses at k = 5 of the first
    assert "| `paper` | **85.00** | **85.00** |" in table
    assert "| `pruned-refit` | **84.50** | 50.00 |" in table
    assert "| `random` | 0.25 | 0.25 |" in table


def test_where_ours_is_not_ahead_is_said_in_words(results: Results) -> None:
    said = fill("<!-- table ours --><!-- end -->", results)
    assert "Of 4 comparisons with the best of all others, `pruned-refit` is ahead beyond chance in 1, behind" in said
    assert "beyond chance in 2, and not told apart in 1." in said
    assert "one at k = 5 (-0.50 against `paper`); two at k = 2 (-35.00 against `paper`)" in said
    assert "| one | 2 | `paper` | +12.50 |" in said


def test_how_often_each_is_among_the_best(results: Results) -> None:
    table = fill("<!-- table standing --><!-- end -->", results)
    assert "| `paper` | 1 | 2 | 3 of 4 |" in table
    assert "| `pruned-refit` | 1 | 1 | 2 of 4 |" in table
    assert "| `random` | 0 | 0 | 0 of 4 |" in table


def test_the_whole_page_is_filled_and_drawn(results: Results, tmp_path: Path) -> None:
    template = (ROOT / "studies" / "strategies_page.md").read_text(encoding="utf-8")
    page = fill(template.replace("refit 3", "refit 2").replace("refit 10", "refit 2").replace(" 20 ", " 5 "), results)
    assert "<!--" not in page
    assert page.count("| the full network |") == 8
    draw(results, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
