"""A comparison's table: what it shows at each width, whole numbers alone, and a file with every figure."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ddeep import console
from ddeep.cli.compare import WIDE, show
from ddeep.experiments._judge import DRAWS, REFIT_DRAWS
from ddeep.results.comparison_summary import places_of, sentences
from ddeep.results.comparison_table import COLUMNS, FIELDS, Column, columns_of, csv_of, table_of

NARROW = ["k", "strategy", "refit %", "decomposed %", "p best", "p random"]


def row(strategy: str, k: float, refit: float | None, **more: Any) -> dict[str, Any]:
    """A row of a comparison, as ``comparison.json`` has it."""
    figures: dict[str, Any] = dict.fromkeys(FIELDS)
    figures.update(weights="w", layer="head", strategy=strategy, k=k, filters_per_class=k, distinct_filters=3 * int(k))
    figures.update(decomposed=80.0, decomposed_interval=[78.0, 82.5], p_value=0.005, essentiality_gap=-2.5)
    if refit is not None:
        figures.update(refit=refit, refit_interval=[refit - 1, refit + 0.5], refit_p_value=0.048)
    return {**figures, "pmi": 0.01234, "metrics": {}, **more}


@pytest.fixture
def document() -> dict[str, Any]:
    best = {"best_alike": True, "full_p_holm": 0.01, "full_difference": -1.5}
    enough = {**best, "full_p_holm": 0.6}
    worse = {"best_alike": False, "best_difference": -9.0, "best_p_holm": 0.0001, "full_p_holm": 0.0001}
    alike = {"best_alike": True, "best_difference": -0.25, "best_p_holm": 0.7, "full_p_holm": 0.4}
    return {
        "model": "net",
        "dataset": "pictures",
        "k": [2, 5],
        "networks": [
            {
                "weights": "w",
                "full": 97.5,
                "full_interval": [96.0, 98.5],
                "images": {"train": 5000, "test": 1000},
                "layers": [{"layer": "head", "filters": 64}],
            }
        ],
        "rows": [
            row("a-name-of-some-twenty-five", 2, 96.0, **best),
            row("quick", 2, 87.0, **worse),
            row("a-name-of-some-twenty-five", 5, 97.5, **enough),
            row("quick", 5, 97.25, **alike),
            row("slow", 5, 88.5, **worse),
        ],
        "null": [{"weights": "w", "layer": "head", "filters_per_class": 5, "refit": [70.0, 72.0], "quantiles": {}}],
        "agreement": [],
        "skipped": [],
        "timings": {"evidence": 12.5, "refit": 3.25},
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(document: dict[str, Any], columns: int, monkeypatch: pytest.MonkeyPatch, wide: bool) -> list[str]:
    stream = Terminal()
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=stream, stderr=stream))
    for name, value in (("TERM", "xterm"), ("NO_COLOR", "1"), ("COLUMNS", str(columns))):
        monkeypatch.setenv(name, value)
    show(document, Path("runs/net"), wide=wide or console.width() >= WIDE)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines()]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_every_width_shows_whole_numbers(
    document: dict[str, Any], columns: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_a_terminal(document, columns, monkeypatch, wide)
    assert max(map(len, lines)) <= columns
    titles, cells = table_of(document, wide=wide or columns >= WIDE)
    assert (titles == NARROW) == (columns < WIDE and not wide)
    assert set(NARROW) <= set(titles)
    text = "\n".join(lines)
    assert all(title in text for title in titles)
    for cell in (str(cell) for line in cells for cell in line if cell is not None):
        assert re.search(rf"(?<!\S){re.escape(cell)}(?!\S)", text), cell
    own = [line for line in lines if re.match(r" *[25]  (a-name|quick|slow)", line)]
    assert len(own) % len(cells) == 0  # a row is a line in each table
    assert (len(own) == len(cells)) == (titles == NARROW or columns == 200)


def test_the_first_line_is_a_sentence_about_the_fewest_filters_that_are_enough(document: dict[str, Any]) -> None:
    assert sentences(document) == [
        "With k = 5 of 64 filters a class, the most accurate of 3 strategies, a-name-of-some-twenty-five, cannot be "
        "told from 1 of the others after a refit: it reaches 97.50 % of 1,000 test images (95 % interval 96.50 to "
        "98.00), the full network 97.50 % (no difference can be told); random filters 71.00 %, the mean of 2 draws."
    ]
    (place,) = places_of(document)
    assert place.chosen_k == 5
    for one in document["rows"]:
        one["full_p_holm"] = 0.0001
    document["rows"][0].update(refit=99.0)
    (place,) = places_of(document)
    assert place.chosen_k == 2  # none is enough: the most accurate
    (sentence,) = sentences(document)
    assert "a-name-of-some-twenty-five is more accurate than the other" in sentence
    assert "the full network 97.50 % (-1.50 points, p < 0.001)" in sentence


def test_without_a_head_there_is_no_accuracy_to_tell(document: dict[str, Any]) -> None:
    for one in document["rows"]:
        one.update(dict.fromkeys(("decomposed", "decomposed_interval", "refit", "refit_interval")))
    (sentence,) = sentences(document)
    assert sentence.startswith("No layer compared feeds the head")


def test_without_refits_the_interval_stands_by_what_there_is(document: dict[str, Any]) -> None:
    document["rows"] = [row("paper", 2, None, best_alike=True)]
    titles, cells = table_of(document, wide=False)
    assert titles == ["k", "strategy", "decomposed %", "p random"]
    assert cells == [[2, "paper", "80.00 ± 2.25", "0.005"]]


def test_several_places_are_told(document: dict[str, Any]) -> None:
    document["rows"][0]["layer"] = "another"
    assert table_of(document, wide=False)[0] == ["layer", *NARROW]


def test_each_budget_has_a_sentence_of_its_own(document: dict[str, Any]) -> None:
    document["rows"] = [row(name, 5, 90.0, budget=budget) for budget in (10, 20) for name in ("quick", "slow")]
    document["null"][0]["budget"] = 20
    few, many = sentences(document)
    assert few.startswith("w, layer head, budget 10: With k = 5")
    assert many.startswith("w, layer head, budget 20: With k = 5")
    assert "random filters" not in few
    assert "random filters 71.00 %" in many


def test_a_column_is_added_in_one_place(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spare = Column("spare", "spare", lambda one: one["spare"], meaning="filters that no class uses")
    monkeypatch.setattr("ddeep.results.comparison_table.COLUMNS", (*COLUMNS, spare))
    monkeypatch.setattr("ddeep.results.comparison_table.FIELDS", (*FIELDS, "spare"))
    for one in document["rows"]:
        one["spare"] = 20
    titles, cells = table_of(document)
    assert [line[titles.index("spare")] for line in cells] == [20] * 5
    assert "spare" not in table_of(document, wide=False)[0]
    assert {line["spare"] for line in csv.DictReader(io.StringIO(csv_of(document)))} == {"20"}


def test_fields_that_no_column_knows_are_metrics_with_their_summary(document: dict[str, Any]) -> None:
    (metric,) = [column for column, _ in columns_of(document) if column.field == "pmi"]
    assert "mutual information" in metric.meaning
    assert "0.0123" in table_of(document)[1][0]


def test_the_legend_says_how_many_random_selections_there_are() -> None:
    (meaning,) = [column.meaning for column in COLUMNS if column.title == "p random"]
    assert f"({REFIT_DRAWS} with refits, {DRAWS} without)" in meaning
    assert f"{1 / (1 + REFIT_DRAWS):.3f} ({1 / (1 + DRAWS):.3f}) at least" in meaning
