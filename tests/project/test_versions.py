"""What a version promises: its documents have schemas that later versions read, and all places name one version."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ddeep
from ddeep.cli import COMMANDS
from ddeep.reports.comparison_page import read_comparison
from ddeep.results.run import read_run
from ddeep.results.verify import verify
from ddeep.selections.selection import Selection
from ddeep.testing import datasets, executions, metrics, models, regularizers, strategies
from setup import HOME
from tests.support.paths import KNOWN, ROOT

PAGE = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "plugin-contract.md").read_text(encoding="utf-8")
WRITTEN = sorted(path for path in (KNOWN / "documents").iterdir() if (path / "run").exists())
FORMS = {"vendor.citation-file-format": ["CITATION.cff"]}
FORMS["vendor.github-issue-forms"] = [".github/ISSUE_TEMPLATE/error.yml", ".github/ISSUE_TEMPLATE/wish.yml"]
FORMS["vendor.github-issue-config"] = [".github/ISSUE_TEMPLATE/config.yml"]


def test_every_schema_of_the_code_is_described_and_the_reverse() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "ddeep").rglob("*.py")]
    used = {schema for text in sources for schema in re.findall(r'"(ddeep\.[a-z.]+/\d+)"', text)}
    assert used == set(re.findall(r"`(ddeep\.[a-z.]+/\d+)`", PAGE))


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda folder: folder.name)
def test_documents_of_every_version_are_read(folder: Path) -> None:
    run = read_run(folder / "run")
    selection = Selection.load(folder / "run" / "selection.json")
    assert [list(row) for row in selection.filters] == list(run["selection"].values())
    assert run["accuracy"]["full"] == 100
    assert [verdict.problem for verdict in verify(folder / "run")] == [None]
    assert {row["strategy"] for row in read_comparison(folder / "comparison")["rows"]} == {"paper", "contribution"}


def test_a_number_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    document = json.loads((WRITTEN[-1] / "run" / "selection.json").read_text())
    (tmp_path / "selection.json").write_text(json.dumps(document | {"schema": "ddeep.selection/99"}))
    with pytest.raises(ddeep.SelectionError, match=r"schema 'ddeep.selection/99' is not known here"):
        Selection.load(tmp_path / "selection.json")


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+), (unreleased|\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    assert headings[0][0] == ddeep.__version__
    assert len(headings) == text.count("\n## ")
    assert all(date != "unreleased" for _, date in headings[1:])
    numbers = [tuple(map(int, version.split("."))) for version, _ in headings]
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_first_entry_names_every_command() -> None:
    first = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").rpartition("\n## 0.1.0,")[2]
    assert set(COMMANDS) - set(re.findall(r"`(?:ddeep )?([a-z-]+)`", first)) == set()


def test_the_citation_names_this_version_and_address() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ddeep.__version__}\n" in text
    assert f"\nrepository-code: {HOME}\n" in text


@pytest.mark.parametrize("schema", FORMS)
def test_forms_are_what_they_are_read_as(schema: str) -> None:
    files = [str(ROOT / name) for name in FORMS[schema]]
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(words, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_a_commit_is_checked_as_make_lint_checks() -> None:
    made = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:\n")[2].partition("\n\n")[0]
    commands = [line.strip().removeprefix(".venv/bin/") for line in made.splitlines() if ".venv/bin/python" in line]
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^ +entry: (.*)$", config, re.MULTILINE) == commands


def test_the_contract_names_every_promise() -> None:
    parts = dict(
        re.findall(r"^\| (?:an?|every) (\w+(?: of models)?) \|\n\|---\|\n((?:\|.*\n)+)", CONTRACT, re.MULTILINE)
    )
    kinds = {"model": models.PROMISES, "family of models": models.FAMILY, "dataset": datasets.PROMISES}
    kinds |= {"strategy": strategies.PROMISES, "metric": metrics.PROMISES, "regularizer": regularizers.PROMISES}
    kinds["execution"] = executions.PROMISES
    for kind, promises in kinds.items():
        assert parts[kind] == "".join(f"| {promise.text} |\n" for promise in promises)
    assert parts["spec"].count("\n") == 2
