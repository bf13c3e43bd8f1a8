"""docs/mathematics.md has an entry for all that the built-ins provide, and what it names and links to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from ddeep_plugins_builtin.metrics import ddeep_metrics
from ddeep_plugins_builtin.regularizers import ddeep_regularizers
from ddeep_plugins_builtin.strategies import ddeep_strategies
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^##+ (.+)$", PAGE, flags=re.MULTILINE)
REFERENCE = re.compile(r"`tests\.reference\.(\w+)\.(\w+)`")
BUILT_INS = {"Strategies": ddeep_strategies, "Metrics": ddeep_metrics, "Regularizers": ddeep_regularizers}
WITHOUT_REFERENCE = {"random"}  # what draws numbers has no formula to compare


def entries(section: str) -> dict[str, str]:
    """The entries of a section, by the name in each one's heading."""
    _, _, rest = PAGE.partition(f"\n## {section}\n")
    body, _, _ = rest.partition("\n## ")
    parts = re.split(r"^### `(.+)`$", body, flags=re.MULTILINE)[1:]
    names, texts = parts[::2], parts[1::2]
    assert len(set(names)) == len(names)
    return dict(zip(names, texts, strict=True))


def anchors() -> Iterator[str]:
    """The headings' anchors as GitHub makes them: a repeated one gets a number."""
    seen: list[str] = []
    for heading in HEADINGS:
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        yield slug if slug not in seen else f"{slug}-{seen.count(slug)}"
        seen.append(slug)


@pytest.mark.parametrize("section", BUILT_INS)
def test_every_built_in_has_an_entry_and_every_entry_is_of_one(section: str) -> None:
    assert entries(section).keys() == {spec.name for spec in BUILT_INS[section]()}


@pytest.mark.parametrize("section", BUILT_INS)
def test_every_entry_names_its_source_and_its_reference(section: str) -> None:
    for name, text in entries(section).items():
        assert re.search(r"Source:\s", text) or name == "random", name
        assert bool(REFERENCE.search(text)) == (name not in WITHOUT_REFERENCE), name


@pytest.mark.parametrize(("module", "function"), sorted(set(REFERENCE.findall(PAGE))))
def test_every_reference_exists_and_is_compared_with(module: str, function: str) -> None:
    assert callable(getattr(import_module(f"tests.reference.{module}"), function))
    imported = re.compile(rf"^from tests\.reference(\.{module} import | import .*\b{module}\b)", flags=re.MULTILINE)
    assert any(imported.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py"))


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= set(anchors())


def test_every_citation_names_a_section() -> None:
    """As ``(docs/mathematics.md, Refit)``, on one line, in the code and the tests."""
    sources = [path for part in ("ddeep", "ddeep_plugins_builtin", "tests") for path in (ROOT / part).rglob("*.py")]
    cited = {
        section
        for path in sources
        if path != Path(__file__)
        for section in re.findall(r"\(docs/mathematics\.md, (.*)", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert {section.partition(")")[0] for section in cited} <= set(HEADINGS)
