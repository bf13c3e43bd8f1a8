"""Budgets as a user types them: in run, measure and compare, in files, tables and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddeep.experiments.compare import run_comparison
from ddeep.experiments.settings import CompareConfig, read_config
from ddeep.reports.comparison_figures import draw
from ddeep.results.comparison import check_comparison_document
from ddeep.results.comparison_table import table_of
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


def test_a_run_keeps_to_its_budget(cli_here: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = cli_here(
        "run", "--model", "resnet20", "--strategy", "contrast", "--k", "3", "--budget", "7", "--out", str(out)
    )
    assert found.status == 0
    document = json.loads((out / "run.json").read_text())
    chosen = {j for row in document["selection"].values() for j in row}
    assert (document["budget"], document["distinct_filters"]) == (7, len(chosen))
    assert len(chosen) <= 7
    assert {len(row) for row in document["selection"].values()} == {3}
    assert json.loads((out / "selection.json").read_text())["source"]["budget"] == 7
    assert "contrast, k = 3, budget 7" in found.out
    assert f"{len(chosen)} in all classes together" in found.out


def test_a_measurement_is_of_the_selection_within_the_budget(cli_here: Cli, tmp_path: Path) -> None:
    base = ["measure", "--model", "resnet20", "--strategy", "contrast", "--k", "3", "--metrics", "pmi", "--json"]
    figures = [cli_here(*base, "--budget", n, "--out", str(tmp_path / n)).json for n in ("3", "64")]
    assert [found["budget"] for found in figures] == [3, 64]
    assert figures[0]["means"] != figures[1]["means"]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = {"strategies": ("contrast", "gram", "pruned-refit"), "k": (2, 3), "budget": (4, 12)}
    return run_comparison(read_config(CompareConfig, {"model": "resnet20", **settings}))


def test_a_comparison_has_a_row_for_every_k_and_budget(document: dict[str, Any]) -> None:
    rows = document["rows"]
    assert document["budget"] == [4, 12]
    assert [(row["k"], row["budget"]) for row in rows] == [(k, n) for k in (2, 3) for n in (4, 12) for _ in range(3)]
    assert all(row["distinct_filters"] <= row["budget"] for row in rows)
    assert sum(row["best_difference"] is None for row in rows) == 4  # one best for each k and budget
    assert {(null["filters_per_class"], null["budget"]) for null in document["null"]} == {
        (k, n) for k in (2, 3) for n in (4, 12)
    }
    pairs = [(2, 4), (2, 12), (3, 4), (3, 12)]
    assert sorted((table["k"], table["budget"]) for table in document["agreement"]) == pairs
    check_comparison_document(json.loads(json.dumps(document)))
    columns, cells = table_of(document)
    assert columns[:3] == ["k", "budget", "strategy"]
    assert [line[:2] for line in cells[::3]] == [[2, "4"], [2, "12"], [3, "4"], [3, "12"]]


def test_accuracy_is_drawn_against_the_budget(document: dict[str, Any]) -> None:
    (plot,) = (plot for plot in draw(document) if plot.name.startswith("budgets"))
    panels = plot.figure.axes
    assert [axes.get_title(loc="left") or axes.get_title() for axes in panels] == ["k = 2", "k = 3"]
    for k, axes in zip((2, 3), panels, strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["4", "12"]
        for line in axes.containers:
            drawn = list(line.lines[0].get_ydata())
            rows = [row for row in document["rows"] if (row["k"], row["strategy"]) == (k, line.get_label())]
            assert drawn == [row["refit"] for row in rows]
    assert not [plot for plot in draw(limited(document)) if plot.name.startswith("budgets")]


def limited(document: dict[str, Any]) -> dict[str, Any]:
    """The comparison with one of its budgets alone."""
    parts = {name: [row for row in document[name] if row["budget"] == 4] for name in ("rows", "null", "agreement")}
    return {**document, **parts, "budget": [4]}


def test_several_budgets_on_the_command_line_and_in_the_files(cli_here: Cli, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    words = ["--strategies", "contrast,weight", "--k", "2", "--budget", "3,9", "--no-refit", "--out", str(out)]
    found = cli_here("compare", "--model", "resnet20", *words)
    assert found.status == 0
    assert "budget" in found.out
    with (out / "comparison.csv").open() as lines:
        assert [row["budget"] for row in csv.DictReader(lines)] == ["3", "3", "9", "9"]
    assert (out / "budgets.png").exists()
    page = tmp_path / "page.html"
    assert cli_here("report", str(out), "--out", str(page)).status == 0
    text = page.read_text()
    assert "Accuracy over the budget" in text
    assert "--budget 3,9" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--strategy", "contrast", "--k", "5", "--budget", "4"], "budget of 4 filters for all classes"),
        (["run", "--strategy", "contrast", "--k", "5", "--budget", "65"], "the layer has 64. Choose from 5 to 64"),
        (["run", "--strategy", "paper", "--k", "0.5", "--budget", "9"], "not with the fraction k = 0.5"),
        (["run", "--strategy", "contrast", "--budget", "0"], "greater than or equal to 1"),
        (["run", "--selection", "there.json", "--budget", "9"], "--budget goes with --strategy"),
        (["measure", "--budget", "9"], "--budget is of a selection"),
        (["compare", "--strategies", "contrast", "--k", "2,5", "--budget", "4,9"], "less than the k = 5"),
        (["compare", "--strategies", "contrast", "--k", "2", "--budget", "4,many"], "--budget"),
    ],
)
def test_budgets_that_cannot_be(cli_here: Cli, words: list[str], message: str) -> None:
    found = cli_here(words[0], "--model", "resnet20", *words[1:])
    assert found.status == 1
    assert message in " ".join(found.err.split())
    assert "Traceback" not in found.err
