"""Figures for papers: text that every reader has, names in any script, and a word where no font has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from ddeep.reports.fonts import fit_fonts, fonts_for, letters_of
from ddeep.reports.style import Plot, save, style

CAT, DOG = "猫", "犬"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A font with the one letter 猫, as if it were installed."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (800, 700), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Cat", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWeightClass=400)
    builder.setupPost()
    file = tmp_path / "cat.ttf"
    builder.save(file)
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    fontManager.addfont(file)
    return file


def plot(name: str) -> Plot:
    with style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], label=name)
        axes.set_yticks([0, 1], [name, "plain"])
        figure.legend()
    return Plot("figure", figure, "A line.")


def test_plain_names_take_the_usual_font_alone() -> None:
    drawn = plot("aeroplane")
    fonts = fit_fonts(drawn.figure)
    assert len(fonts.families) == 1
    assert not fonts.missing
    assert {ord(letter) for letter in "aeroplane"} <= letters_of(fonts.files[0])


def test_another_script_takes_an_installed_font(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fonts = fonts_for(f"the {CAT}")
    assert fonts.families[1:] == ("One Cat",)
    assert fonts.files[1] == installed
    assert not fonts.missing
    _, svg, pdf = save(plot(CAT), tmp_path)
    assert capsys.readouterr().err == ""
    assert pdf.read_bytes().count(b"/FontFile2") == 2  # both are embedded
    assert "<text" not in svg.read_text()


@pytest.mark.usefixtures("installed")
def test_letters_that_no_font_has_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fonts_for(CAT + DOG).missing == {DOG}
    save(plot(DOG), tmp_path)
    err = capsys.readouterr().err
    assert f"No installed font has {DOG}" in err
    assert "Noto Sans" in err
    assert err.count("warning") == 1


def test_a_file_that_is_no_font_has_no_letters(tmp_path: Path) -> None:
    (tmp_path / "odd.ttf").write_bytes(b"nothing")
    assert letters_of(tmp_path / "odd.ttf") == frozenset()


def test_a_figure_is_the_same_file_each_time(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in save(plot("cat"), tmp_path)]
    again = [path.read_bytes() for path in save(plot("cat"), tmp_path)]
    assert first == again
    png, svg, pdf = first
    assert png.startswith(b"\x89PNG")
    assert b"<text" not in svg  # outlines
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/FontFile2") == 1  # an embedded font: text that can be searched
