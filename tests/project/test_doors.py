"""What is public is ``ddeep`` and ``ddeep.plugin``: built-ins, examples and documents use nothing else, torch waits."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ddeep
from ddeep import plugin
from studies import reference_page
from tests.support.paths import ROOT

DOORS = {"ddeep", "ddeep.plugin", "ddeep.testing"}
PLUGINS = sorted([*(ROOT / "ddeep_plugins_builtin").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "plugins").glob("*/README.md"),
        *(ROOT / "ddeep" / "registry" / "templates").iterdir(),
    ]
)


def imported(source: str) -> Iterator[str]:
    """The modules of ddeep that a text in Python imports, and what it names in texts such as "ddeep.x:y"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "ddeep")
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^(ddeep(?:\.\w+)+):\w+$", node.value)


def strangers(modules: Iterator[str]) -> set[str]:
    """Those that are inside ddeep and no public door."""
    found = {module for module in modules if module.split(".")[0] == "ddeep"} - DOORS
    return {module for module in found if not (module.startswith("ddeep.") and module[6:] in ddeep.__all__)}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_use_the_public_doors_alone(path: Path) -> None:
    assert strangers(imported(path.read_text(encoding="utf-8"))) == set()


def test_the_check_finds_what_it_looks_for() -> None:
    source = "import ddeep.console\nfrom ddeep.heads.refit import L2\nx = 'ddeep.api:load'\nfrom ddeep import select"
    assert strangers(imported(source)) == {"ddeep.console", "ddeep.heads.refit", "ddeep.api"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_and_templates_use_the_public_doors_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"^\s*(?:from|import) (ddeep(?:\.\w+)*)", text, flags=re.MULTILINE)
    assert set(named) <= DOORS


@pytest.mark.parametrize("module", [ddeep, plugin])
def test_a_door_offers_what_it_says_it_does(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert sorted(set(names)) == sorted(names)
    assert all(hasattr(module, name) for name in names)
    assert set(dir(module)) >= set(names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["ddeep", "ddeep.plugin"])
def test_a_door_opens_without_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit(bool({{'torch', 'numpy', 'pydantic'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_reference_page_is_what_the_code_says() -> None:
    """Both lists of names, every command and every option: `python -m studies.reference_page` writes it anew."""
    page = reference_page.FILE.read_text(encoding="utf-8")
    assert page == reference_page.page()
    users, _, authors = page.partition("## Python: `ddeep`")[2].partition("## Python: `ddeep.plugin`")
    for module, part in ((ddeep, users), (plugin, authors)):
        assert set(re.findall(r"^- \*\*`(\w+)", part, flags=re.MULTILINE)) == set(module.__all__)
