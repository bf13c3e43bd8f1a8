"""The page as a text: complete in itself, safe against names, readable without scripts, small enough."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.console import clean
from ddeep.errors import DataError
from ddeep.experiments.settings import ReportConfig
from ddeep.reports import write_report
from ddeep.reports.findings import find
from ddeep.reports.heat import LEVELS, heat_table, number, shade
from ddeep.reports.style import readable_on, steps
from ddeep.reports.views import filter_order
from tests.reports.conftest import HOSTILE
from tests.reports.pages import data_of, read, references, visible
from tests.support.documents import read_document
from tests.support.helpers import Outcome

MEGABYTE = 10**6


def test_nothing_is_fetched(digits_page: Path) -> None:
    page = digits_page.read_text(encoding="utf-8")
    assert [r for r in references(page) if not r.startswith(("#", "data:"))] == []
    (policy,) = [m["content"] for m in read(page).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_it_is_small(digits_page: Path) -> None:
    assert digits_page.stat().st_size < 3 * MEGABYTE


def test_identifiers_are_unique_and_links_lead_somewhere(digits_page: Path) -> None:
    page, data = read(digits_page), data_of(digits_page)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    drawn = {f"class-{c}" for c, row in enumerate(data["perClass"]) if row["filters"]}
    drawn |= {f"filter-{portrait['filter']}" for portrait in data["portraits"]}
    targets = {a["href"] for a in page.of("a")} | {u["xlink:href"] for u in page.of("use")}
    assert {target.removeprefix("#") for target in targets} <= {*identifiers, *drawn}
    assert {b["popovertarget"] for b in page.of("button") if "popovertarget" in b} <= set(identifiers)


def test_everything_is_there(digits_run: Path, digits_page: Path) -> None:
    document = read_document(digits_run / "run.json")
    text = visible(digits_page)
    for stage in ("full", "decomposed", "refit"):
        assert f"{document['accuracy'][stage]:.1f} % [" in text
    assert "With 5 of 64 filters of layer3.2 a class, " in text
    assert "200 random selections of as many filters" in text
    assert "364 test images. With fewer than 1,000" in text
    assert "ddeep run --model resnet20 --strategy paper" in text
    for heading in ("Is it real?", "The classes", "The switch", "Classes and filters", "Mistakes", "Provenance"):
        assert heading in text
    assert document["hashes"]["test"] in text
    page = read(digits_page)
    assert len(page.of("svg")) == 1
    data = data_of(digits_page)
    assert len(data["perClass"]) == 10
    assert len(data["portraits"]) == 64
    assert sum(len(row) for row in data["pairs"]["rows"]) == 50
    assert len(data["switch"]["indices"]) == 240


def test_metrics_say_what_they_are_and_scores_of_how_many(digits_run: Path, digits_page: Path) -> None:
    document, page = read_document(digits_run / "run.json"), read(digits_page)
    head, *rows = page.tables["measured"]
    assert head == ["metric", "value", "what it is"]
    assert {name: value for name, value, _ in rows} == {
        "class-selectivity": f"{document['metrics']['class_selectivity']:.4g}",
        "pmi": f"{document['metrics']['pmi']['without_self_pairs']:.4g}",
        "psi": f"{document['metrics']['psi']['median']:.4g}",
    }
    terms = {a["id"] for _, a in page.elements if "popover" in a}
    assert {"term-metric-psi", "term-metric-pmi", "term-score", "term-share"} <= terms
    assert "each a number of the class's train images" in visible(digits_page)
    data = data_of(digits_page)
    assert sum(data["scored"]) == document["images"]["train"]
    for row, images in zip(data["perClass"], data["scored"], strict=True):
        assert all(0 < score <= images for score in row["scores"])


def test_every_stage_of_a_fine_tuned_run(finetuned_run: Path, finetuned_page: Path) -> None:
    document = read_document(finetuned_run / "run.json")
    text, page = visible(finetuned_page), read(finetuned_page)
    stages = ["full", "decomposed", "refit", "finetuned"]
    for stage in stages:
        assert f"{document['accuracy'][stage]:.1f} % [" in text
    assert list(data_of(finetuned_page)["switch"]["heads"]) == ["full", "decomposed", "finetuned"]
    head, *rows = page.tables["by-class"]
    assert head == ["class", "images", *stages, "interval", "lost", "filters, best first"]
    for shown, row in zip(rows, document["per_class"], strict=True):
        assert shown[:2] == [row["class"], str(row["images"])]
        assert shown[2:6] == [f"{row[stage]:.2f}" for stage in stages]
        assert shown[7] == number(row["full"] - row["finetuned"])
    assert "Finetuned − full" in text
    run = "ddeep run --model resnet20 --strategy paper --out RUN"
    assert f"{run} && ddeep finetune RUN --epochs 1 --lr 0.0001 --batch-size 64" in text


def test_images_are_described_and_tables_named(digits_page: Path) -> None:
    page = read(digits_page)
    assert all(a["aria-label"] for _, a in page.elements if a.get("role") in ("img", "region", "group"))
    tables, captions = len(page.of("table")), [name for name, _ in page.elements].count("caption")
    regions = [a["aria-label"] for a in page.of("div") if a.get("role") == "region"]
    assert captions + sum(label == "filter" for label in regions) >= tables
    assert all("scope" in a for a in page.of("th"))
    labelled = {a["for"] for a in page.of("label") if "for" in a}
    assert labelled <= {attributes["id"] for _, attributes in page.elements if "id" in attributes}


def test_the_same_run_gives_the_same_page(digits_run: Path, digits_page: Path, tmp_path: Path) -> None:
    again = write_report(digits_run, ReportConfig(out=tmp_path / "again.html")).page
    assert again.read_bytes() == digits_page.read_bytes()


def test_figures_stand_beside_the_page(digits_run: Path, digits_page: Path) -> None:
    assert digits_page.parent == digits_run
    names = {path.name for path in (digits_run / "figures").iterdir()}
    stems = {"accuracy-by-class", "class-filter-matrix", "confusion-change", "metrics-over-layers"}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg", "pdf")}


def test_hostile_names_are_shown_as_text(hostile_run: Path) -> None:
    page = write_report(hostile_run, ReportConfig(no_layers=True)).page.read_text(encoding="utf-8")
    parsed = read(page)
    allowed = {"id", "class", "href", "style", "title", "aria-label", "data-index", "data-drop", "value", "role"}
    assert len(parsed.of("script")) == 2  # its data, and the script
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]
    for name in HOSTILE:
        shown = clean(name).strip()
        assert any(shown in text for text in parsed.texts), name
        holders = {key for _, found in parsed.elements for key, value in found.items() if shown[:12] in value}
        assert holders <= allowed, name
    assert "49" not in {text.strip() for text in parsed.texts if "7 * 7" in text}


def test_hostile_settings_cannot_leave_their_place(digits_run: Path, tmp_path: Path) -> None:
    """run.json comes from strangers, too."""
    harm = "</style></script><img src=x onerror=alert(1)>"
    copied = tmp_path / "run"
    shutil.copytree(digits_run, copied)
    document = read_document(copied / "run.json")
    document.update(strategy=harm, layer=harm, model=harm, dataset=harm, weights=harm, head=harm)
    document["versions"] = {harm: harm}
    document["per_class"][0]["class"] = "\u202egnp.exe\u2028\x07\ud800"
    document["config"]["model"] = harm
    (copied / "run.json").write_text(json.dumps(document))
    written = write_report(copied, ReportConfig())
    parsed = read(written.page)
    assert harm in written.missing
    assert not [a for a in parsed.of("img") if "onerror" in a]
    assert len(parsed.of("script")) == 2
    assert len(parsed.of("style")) == 1
    assert visible(written.page).count(harm) >= 7
    assert r"\u202egnp.exe\u2028\x07\ud800" in visible(written.page)
    assert not {"\u202e", "\u2028", "\x07"} & set(written.page.read_text(encoding="utf-8"))


def test_without_images_it_says_so_and_shows_the_rest(digits_run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(digits_run, copied)
    document = read_document(copied / "run.json")
    document["config"].update(dataset="folder", data_dir=str(tmp_path / "gone"))
    (copied / "run.json").write_text(json.dumps(document))
    written = write_report(copied, ReportConfig())
    text = visible(written.page)
    assert written.missing
    assert "Without images." in text
    assert f"{document['accuracy']['refit']:.1f} % [" in text
    for gone in ("The switch", "Mistakes", "Is it real?"):
        assert gone not in text
    data = data_of(written.page)
    assert data["perClass"][0]["scores"]
    assert not {"map", "switch", "pictures", "portraits"} & set(data)
    assert {path.stem for path in written.figures} == {"accuracy-by-class"}


def test_a_thousand_classes(thousand_page: Path) -> None:
    assert thousand_page.stat().st_size < 15 * MEGABYTE
    data = data_of(thousand_page)
    assert len(data["perClass"]) == 1000
    assert all(row["filters"] for row in data["perClass"])
    assert 0 < len(data["switch"]["indices"]) <= 240
    names = [name for name, _ in read(thousand_page).elements]
    assert len(names) < 25_000  # what a class needs is drawn when it is opened


def test_filters_stand_with_the_first_class_that_selects_them(digits_run: Path) -> None:
    found = find(digits_run, ReportConfig(no_layers=True))
    order = filter_order(found)
    assert sorted(order) == list(range(64))
    assert order[:5] == list(found.selection.filters[0])
    assert filter_order(found, selected_only=True) == order[: len(found.users())]


def test_cells() -> None:
    import torch

    values = torch.tensor([[1.0, -2.0, 0.0], [float("nan"), 0.004, -0.004]])
    table = heat_table("t", "", values, [0, 1], [2, 0, 1], digits=2, marked={(0, 1)})
    assert [[cell.text for cell in row] for row in table.cells] == [["0.00", "1.00", "−2.00"], ["0.00", "", "0.00"]]
    assert [cell.shade for cell in table.cells[0]] == ["z", "p12", f"n{LEVELS}"]
    assert table.cells[1][1].shade == ""
    assert [cell.marked for cell in table.cells[0]] == [False, False, True]
    assert (table.high, table.signed) == ("2.00", True)
    assert shade(0.25, 1.0, root=True) == "p12"
    assert shade(0.0, 0.0) == "z"


NUMBERS = [
    (None, 2, False, ""),
    (float("nan"), 2, False, ""),
    (-0.001, 2, True, "0.00"),
    (-1.5, 1, False, "−1.5"),
    (2, 0, True, "+2"),
]


@pytest.mark.parametrize(("value", "digits", "plus", "text"), NUMBERS)
def test_numbers(value: float | None, digits: int, plus: bool, text: str) -> None:
    assert number(value, digits, plus) == text


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_keep_their_order_without_hue_and_text_stands_out() -> None:
    """Lightness alone orders the magnitudes, so colour-blind readers and grey prints lose nothing."""
    shades = list(steps(LEVELS))
    for page, falls in ((1, True), (2, False)):
        for side in (shades[LEVELS:], shades[: LEVELS + 1][::-1]):
            lightness = [luminance(step[page]) for step in side]
            assert lightness == sorted(lightness, reverse=falls)
        for step in shades:
            text = 0.0 if readable_on(step[page]) == "#000" else 1.0
            low, high = sorted([luminance(step[page]), text])
            assert (high + 0.05) / (low + 0.05) >= 4.5, step


def test_the_command_line(cli_here: Callable[..., Outcome], digits_run: Path, tmp_path: Path) -> None:
    done = cli_here("report", digits_run, "--out", tmp_path / "page.html", "--no-layers", "--json")
    assert done.status == 0, done.err
    document = done.json
    assert document["schema"] == "ddeep.report/1"
    assert document["report"] == str(tmp_path / "page.html")
    assert document["bytes"] == (tmp_path / "page.html").stat().st_size
    assert document["missing"] is None
    assert all(Path(figure).stat().st_size > 1000 for figure in document["figures"])
    assert cli_here("report", tmp_path / "nothing").status == 1


def test_a_run_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        write_report(tmp_path, ReportConfig())
    assert list(tmp_path.iterdir()) == []
