"""The page of a comparison: its figures are the document's, it is complete in itself, and a browser shows it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddeep.errors import DataError
from ddeep.experiments.settings import ReportConfig
from ddeep.reports import write_report
from ddeep.reports.dots import dots
from ddeep.results.comparison_summary import places_of, sentences
from tests.reports.browser import choose, column, complaints, css, one, open_page, press, requests, violations
from tests.reports.conftest import HOSTILE, LAYERS
from tests.reports.pages import read, references, visible
from tests.support.documents import read_document


@pytest.fixture(scope="module")
def document(comparison: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_document(comparison / "comparison.json")
    return found


def test_every_row_with_its_figures(document: dict[str, Any], comparison_page: Path) -> None:
    head, *rows = read(comparison_page).tables["results"]
    assert head[:7] == ["layer", "k", "strategy", "refit %", "95 %", "decomposed %", "95 %"]
    assert len(rows) == len(document["rows"]) == 2 * 2 + 4 * 2
    for shown, row in zip(rows, document["rows"], strict=True):
        assert shown[:3] == [row["layer"], str(row["k"]), row["strategy"]]
        assert (row["refit"] is None) == (row["decomposed"] is None) == (row["layer"] == LAYERS[0])
        for place, stage in ((3, "refit"), (5, "decomposed")):
            if row[stage] is None:
                assert shown[place : place + 2] == ["–", "–"]
                continue
            low, high = row[f"{stage}_interval"]
            assert low <= row[stage] <= high
            assert shown[place : place + 2] == [f"{row[stage]:.2f}", f"{low:.2f} to {high:.2f}"]
        cells = dict(zip(head[7:], shown[7:], strict=True))
        gap = row["essentiality_gap"]
        assert cells["gap, points"] == ("–" if gap is None else f"{gap:.1f}".replace("-", "−"))
        assert cells["filters"] == str(row["distinct_filters"])


def test_the_header_tells_what_was_found_and_no_winner_of_a_tie(
    document: dict[str, Any], comparison_page: Path
) -> None:
    text = visible(comparison_page)
    assert sentences(document)[0] in text.replace("\u2212", "-")
    assert "(95\u00a0% interval" in comparison_page.read_text(encoding="utf-8")
    for stage in ("decomposed", "refit"):
        judged = [row for row in document["rows"] if row[stage] is not None]
        best = max(judged, key=lambda row: row[stage])
        here = [row for row in judged if row["k"] == best["k"]]
        same = [row["strategy"] for row in here if row[stage] == best[stage]]
        whose = " and ".join(same) if len(same) < 3 else f"{len(same)} strategies"
        more = [row for row in here if row["best_alike"] and row["strategy"] not in same]
        if stage == "refit" and more:
            whose += f", not told from {len(more)} more"
        assert f"highest {stage}{best[stage]:.2f} %{whose}, k = {best['k']}" in text
    assert f"full{document['networks'][0]['full']:.2f} %" in text
    settings = "--layers layer2.2,layer3.2 --strategies paper,contribution,random,weight --k 2,5"
    assert f"ddeep compare --model resnet20 {settings}" in text


def test_the_chart_of_each_k_has_every_strategy_the_best_first(document: dict[str, Any], comparison_page: Path) -> None:
    charts = [table for name, table in read(comparison_page).tables.items() if name.startswith("table")][:2]
    for chart, k in zip(charts, (2, 5), strict=True):
        rows = [row for row in document["rows"] if row["k"] == k and row["refit"] is not None]
        assert [line[0] for line in chart[1:]] == [row["strategy"] for row in rows]
        for line, row in zip(chart[1:], rows, strict=True):
            assert line[2].startswith(f"{row['refit']:.2f}")
            assert ("cannot be told" in line[2]) == row["best_alike"]


def test_the_scale_shows_all_but_what_is_far_below(document: dict[str, Any]) -> None:
    (place,) = places_of(document)
    for k in place.ks:
        chart = dots(place, k)
        assert chart.whole.low <= chart.zoomed.low < chart.zoomed.high <= chart.whole.high
        for dot in chart.rows:
            assert chart.whole.low <= dot.low <= dot.value <= dot.high <= chart.whole.high
        assert chart.zoomed.low <= chart.rows[0].low
        assert chart.zoomed.low <= chart.full <= chart.zoomed.high
        assert all(chart.zoomed.low <= tick <= chart.zoomed.high for tick in chart.zoomed.ticks)
    far = replace(place, rows=tuple({**row, "refit": 10.0, "refit_interval": [9.0, 11.0]} if row["strategy"] == "random"
                                    else row for row in place.rows))  # fmt: skip
    chart = dots(far, 5)
    assert chart.rows[-1].high < chart.zoomed.low
    assert chart.whole.low <= 9.0


def test_agreement_in_numbers(document: dict[str, Any], comparison_page: Path) -> None:
    tables = read(comparison_page).tables
    assert [len(table["strategies"]) for table in document["agreement"]] == [2, 2, 4, 4]
    for at, agreement in enumerate(document["agreement"]):
        for kind in ("jaccard", "rank_agreement"):
            head, *rows = tables[f"heat-{kind}-{at}"]
            shown = {(row[0], column): cell for row in rows for column, cell in zip(head[1:], row[1:], strict=True)}
            for first, values in zip(agreement["strategies"], agreement[kind], strict=True):
                for second, value in zip(agreement["strategies"], values, strict=True):
                    assert float(shown.pop((first, second)).replace("−", "-")) == pytest.approx(value, abs=0.00501)
            assert not shown


def test_what_was_left_out_and_why(document: dict[str, Any], comparison_page: Path) -> None:
    assert {(row["strategy"], row["layer"]) for row in document["skipped"]} == {
        ("contribution", LAYERS[0]),
        ("weight", LAYERS[0]),
    }
    text = visible(comparison_page)
    for row in document["skipped"]:
        assert row["reason"] in text


def test_it_is_small_and_fetches_nothing(comparison_page: Path) -> None:
    assert comparison_page.stat().st_size < 1_000_000
    assert all(r.startswith(("#", "data:")) for r in references(comparison_page.read_text(encoding="utf-8")))
    page = read(comparison_page)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_figures_stand_beside_the_page(comparison_page: Path) -> None:
    names = {path.name for path in (comparison_page.parent / "figures").iterdir()}
    here = [f"{stem}-2-layer3.2" for stem in ("accuracy", "few", "each", "tradeoff", "agreement")]
    stems = ("agreement-1-layer2.2", *here)
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg", "pdf")}


def test_hostile_names_are_shown_as_text(comparison: Path, tmp_path: Path) -> None:
    copied = tmp_path / "compared"
    shutil.copytree(comparison, copied)
    text = json.dumps(read_document(copied / "comparison.json"))
    for name, harm in zip(("paper", "contribution", "weight"), HOSTILE, strict=False):
        text = text.replace(json.dumps(name), json.dumps(harm))
    (copied / "comparison.json").write_text(text)
    page = read(write_report(copied, ReportConfig()).page)
    assert len(page.of("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert {row[2] for row in page.tables["results"][1:]} == {*HOSTILE[:3], "random"}


@pytest.mark.parametrize("broken", ["{", "[]", '{"schema": "ddeep.comparison/99"}', '{"schema": "ddeep.run/1"}'])
def test_what_is_no_comparison_is_refused(broken: str, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(broken)
    with pytest.raises(DataError, match=r"is not a comparison"):
        write_report(tmp_path, ReportConfig())


@pytest.mark.parametrize("width", [390, 1024, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_silent_offline_and_never_wider_than_the_window(
    browser: Any, comparison_page: Path, width: int, scheme: str
) -> None:
    open_page(browser, comparison_page, width, scheme)
    assert requests(browser) == [comparison_page.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    figures = [figure for figure in css(browser, "figure svg, svg.few") if figure.is_displayed()]
    assert len(figures) == 5  # the chosen few, accuracy beside meaning, two of agreement, the appendix
    assert all(figure.size["width"] > 200 and figure.size["height"] > 100 for figure in figures)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_axe_finds_no_violation(browser: Any, comparison_page: Path, width: int, scheme: str) -> None:
    open_page(browser, comparison_page, width, scheme)
    found = violations(browser)
    assert found == [], found


def test_one_k_at_a_time(browser: Any, comparison_page: Path) -> None:
    open_page(browser, comparison_page)
    assert len(column(browser, "#results", 2)) == 12
    choose(browser, "#only-k", "5")
    assert column(browser, "#results", 2) == ["5"] * 6
    choose(browser, "#only-k", "")
    assert len(column(browser, "#results", 2)) == 12


def test_the_chart_of_another_k_and_scale(document: dict[str, Any], browser: Any, comparison_page: Path) -> None:
    def shown() -> list[str]:
        return [view.get_attribute("data-k") for view in css(browser, ".dots-view") if view.is_displayed()]

    def share(strategy: str) -> float:
        """Where a strategy's dot lies between the ends of the scale."""
        return float(browser.execute_script(
            """const row = [...document.querySelectorAll(".dots-view:not([hidden]) tbody tr")]
                 .find((row) => row.cells[0].textContent === arguments[0]);
               const svg = row.querySelector("svg").getBoundingClientRect();
               const dot = row.querySelector("circle.refit").getBoundingClientRect();
               return (dot.x + dot.width / 2 - svg.x) / svg.width;""",
            strategy,
        ))  # fmt: skip

    open_page(browser, comparison_page)
    (place,) = places_of(document)
    assert shown() == [f"{place.chosen_k:g}"]
    press(browser, one(browser, "#ks [data-k='5']"))
    assert shown() == ["5"]
    chart = dots(place, 5)
    for scale in (chart.zoomed, chart.whole):
        for dot in chart.rows[:2]:
            wanted = (dot.value - scale.low) / (scale.high - scale.low)
            assert share(dot.strategy) == pytest.approx(wanted, abs=0.005)
        press(browser, one(browser, "#whole"))


def test_curves_of_the_chosen_few(browser: Any, comparison_page: Path) -> None:
    open_page(browser, comparison_page)
    boxes = css(browser, ".choices input")
    chosen = [box.get_attribute("value") for box in boxes if box.is_selected()]
    left_out = [box for box in boxes if not box.is_selected()]
    assert len(css(browser, "svg.few polyline")) == len(chosen) == 3
    assert [box.get_attribute("value") for box in left_out] == ["random"]  # far below: a press away
    press(browser, left_out[0])
    assert len(css(browser, "svg.few polyline")) == 4
    press(browser, boxes[0])
    assert len(css(browser, "svg.few polyline")) == 3
    assert boxes[0].get_attribute("value") not in one(browser, "svg.few").get_attribute("aria-label")


def test_the_results_sort_and_dashes_come_last(browser: Any, comparison_page: Path) -> None:
    open_page(browser, comparison_page)
    for figures in ("descending", "ascending"):
        press(browser, one(browser, "#results thead th:nth-child(6) button"))
        assert one(browser, "#results thead th:nth-child(6)").get_attribute("aria-sort") == figures
        shown = column(browser, "#results", 6)
        assert shown[8:] == ["–"] * 4
        assert [float(text) for text in shown[:8]] == sorted(map(float, shown[:8]), reverse=figures == "descending")
    press(browser, one(browser, "#results thead th:nth-child(3) button"))
    names = column(browser, "#results", 3)
    assert names == sorted(names)


def test_lists_sort_by_their_first_number_that_differs(browser: Any, comparison_page: Path) -> None:
    """Not by their digits read as one number."""
    wanted = ["−3", "<0.001", "5 9", "5 10", "5 10 1", "50 30", "98.2 to 99.1", "1,797", "–", "a 9", "a 10", "b"]
    open_page(browser, comparison_page)
    browser.execute_script(
        """const rows = [...document.querySelectorAll("#results tbody tr")];
        rows.forEach((row, at) => { row.cells[2].textContent = arguments[0][(at * 5) % rows.length]; });""",
        wanted,
    )
    press(browser, one(browser, "#results thead th:nth-child(3) button"))
    assert column(browser, "#results", 3) == wanted
