"""The site: documents keep their links and find a place, notebooks show what they printed, nothing leads nowhere."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from ddeep import plugin
from ddeep.experiments import settings
from ddeep.registry.registry import registry
from setup import FILES, PAGES
from tests.support.paths import ROOT
from website import catalogue, interface, staging
from website.links import problems

nbconvert = pytest.importorskip("nbconvert", reason="needs the extra docs")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    staging.stage(folder)
    return folder


def test_every_document_is_a_page(staged: Path) -> None:
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*") if path.is_file()}
    assert {path.with_suffix(".md") if path.suffix == ".ipynb" else path for path in documents} <= {
        path.relative_to(staged) for path in staged.rglob("*")
    }
    assert (staged / "changelog.md").exists()
    assert (staged / "plugins" / "ddeep-vit.md").exists()


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("[a](scaling.md#b)", "[a](scaling.md#b)"),
        ("[a](../CONTRIBUTING.md#b)", "[a](contributing.md#b)"),
        ("[a](../plugins/ddeep-vit)", "[a](plugins/ddeep-vit.md)"),
        ("[a](../README.md)", "[a](index.md)"),
        ("[a](../Makefile)", f"[a]({PAGES}Makefile)"),
        ("![a](../picture.png)", f"![a]({FILES}picture.png)"),
        ("[![a](report.png)](report.md)", "[![a](report.png)](report.md)"),
        ("[a](https://b) [c](#d)", "[a](https://b) [c](#d)"),
        ("```\n[a](../Makefile)\n```\n[a](../data/README.md)", "```\n[a](../Makefile)\n```\n[a](data.md)"),
        ("# A `b`\n\n## A `b`", "# A `b`\n\n## A `b` { #a-b-1 }"),
    ],
)
def test_links_follow_the_pages(given: str, made: str, tmp_path: Path) -> None:
    assert staging.with_links(given, ROOT / "docs" / "page.md", tmp_path / "page.md", tmp_path) == made


def test_a_new_document_finds_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = tmp_path / "source", tmp_path / "pages"
    source.mkdir()
    (source / "mine.ipynb").write_text("{}")
    named = list(staging._named(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    for page in [*named, "task.md", "mine.md", "plugins/mine.md"]:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).touch()
    monkeypatch.setattr(staging, "SOURCE", source)
    made = tomllib.loads(staging.configuration(folder))["project"]
    sections = dict(staging._sections(made["nav"]))
    assert sections[staging.HOW_TO][-1] == "task.md"
    assert sections[staging.TUTORIALS][-1] == "mine.md"
    assert sections["Example plugins"] == ["plugins/mine.md"]
    (folder / named[0]).unlink()
    with pytest.raises(SystemExit, match=r"names pages that are not there: index\.md"):
        staging.configuration(folder)


def notebook(path: Path, count: int | None) -> Path:
    picture = {"image/png": "iVBORw0KGgo="}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["94.78\n"]},
        {"output_type": "display_data", "data": picture, "metadata": {}},
    ]
    code = {
        "cell_type": "code",
        "source": ["print(accuracy)"],
        "metadata": {},
        "execution_count": count,
        "outputs": outputs,
    }
    text = {"cell_type": "markdown", "source": ["# Mine\n", "[all](strategies.md)"], "metadata": {}}
    made = {"cells": [text | {"id": "a"}, code | {"id": "b"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(made))
    return path


def test_a_notebook_shows_what_it_printed_and_drew(tmp_path: Path) -> None:
    from website.notebooks import markdown

    text = markdown(notebook(tmp_path / "mine.ipynb", 1), tmp_path / "pages" / "mine.md")
    assert "# Mine" in text
    assert "print(accuracy)" in text
    assert "94.78" in text
    (picture,) = (tmp_path / "pages").rglob("*.png")
    assert picture.relative_to(tmp_path / "pages").as_posix() in text
    with pytest.raises(ValueError, match="cells that were not run"):
        markdown(notebook(tmp_path / "mine.ipynb", None), tmp_path / "pages" / "mine.md")


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_the_catalogue_has_all_that_comes_with_ddeep(kind: str) -> None:
    text = catalogue.pages()[f"reference/{kind}.md"]
    catalog = registry().catalog(kind)
    own = [name for name in catalog if catalog.provider(name).startswith("ddeep:")]
    assert own
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, "a summary with a bar in it"
    for name in own:
        assert f"\n## `{name}` {{ #{name} }}\n" in text
        assert catalog[name].source in text
    if kind in ("strategies", "metrics", "regularizers"):
        # The definitions of the mathematics, which name their references; a few have none.
        assert len(re.findall(r"References?:", text)) >= len(own) - 2


def test_the_glossary_has_every_word() -> None:
    words = set(re.findall(r"^\| \*\*(.+)\*\* \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE))
    rule = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("**Words.**")[2].partition("\n\n")[0]
    assert set(re.findall(r"\*([a-z -]+)\*", rule)) - words == set()


def test_plugins_find_every_name_with_what_it_takes_and_holds() -> None:
    text = interface.pages()["reference/plugin.md"]
    assert sorted(re.findall(r"^### `(.+)`$", text, re.MULTILINE)) == sorted(plugin.__all__)
    assert "ClassSquares()\nClassSquares.sums: Float[Tensor, 'c k']" in text
    assert "Confusion(among: tuple[int, ...] | None = None)\nConfusion.counts: " in text
    assert "0x" not in text


def test_every_setting_is_there() -> None:
    text = interface.pages()["reference/settings.md"]
    for model in (settings.RunConfig, settings.CompareConfig, settings.TrainConfig, settings.ReportConfig):
        part = text.partition(f"\n## `{model.__name__}`\n")[2].partition("\n## ")[0]
        for name, field in model.model_fields.items():
            assert f"| `{name}` |" in part
            assert not field.description or field.description.split("|")[0] in part
    assert "0x" not in text  # no address of an object
    assert "\\|" not in "".join(re.findall("`[^`\n]*`", text))  # which code shows as it is written


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="other.html#there">', ""),
        ('<a href="other.html">', ""),
        ('<a href="https://elsewhere">', ""),
        ('<img src="data:image/png;base64," alt="">', ""),
        ('<article id="view"></article><a href="#class-3">', ""),
        ('<a href="#class-3">', "page.html links to #class-3, which is not there"),
        ('<a href="absent.html">', "page.html links to absent.html, which is not there"),
        ('<a href="other.html#nowhere">', "page.html links to other.html#nowhere, which is not there"),
        ('<img src="absent.png" alt="">', "page.html fetches absent.png, which is not there"),
        ('<img src="other.html">', "page.html: a picture without a description: other.html"),
        ('<script src="https://cdn/x.js">', "page.html fetches https://cdn/x.js"),
        ('<link rel="stylesheet" href="//fonts/x">', "page.html fetches //fonts/x"),
    ],
)
def test_what_leads_nowhere_is_found(body: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(body)
    (tmp_path / "other.html").write_text('<h2 id="there">')
    assert problems(tmp_path) == ([problem] if problem else [])
