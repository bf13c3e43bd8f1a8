"""The documents keep their promises: examples run as printed, and every hook is described and tested."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pluggy
import pytest

import ddeep
import ddeep.statistics.basic
import ddeep.statistics.histograms
import ddeep.statistics.top_images
from ddeep.registry import hookspecs, specs
from ddeep.registry.discovery import SPEC_TYPES
from ddeep.registry.registry import registry
from ddeep.statistics.statistic import Statistic
from tests.support.paths import ROOT

PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

manager = pluggy.PluginManager(hookspecs.PROJECT)
manager.add_hookspecs(hookspecs)
HOOKS = sorted(vars(manager.hook))


def code_blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.M | re.S)


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block with the lines printed below it."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def test_there_are_six_hooks() -> None:
    assert [f"ddeep_{kind}" for kind in sorted(SPEC_TYPES)] == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_described(hook: str) -> None:
    assert f"\n### `{hook}`\n" in PLUGINS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_built_in(hook: str) -> None:
    kind = hook.removeprefix("ddeep_")
    assert any(plugin.distribution == "ddeep" and plugin.provides.get(kind) for plugin in registry().plugins)


@pytest.mark.parametrize("spec", [*(spec for types in SPEC_TYPES.values() for spec in types), specs.WeightsSpec])
def test_every_field_of_every_spec_is_described(spec: type[specs.Spec]) -> None:
    parts = re.split(r"`(\w+)`: ", PLUGINS)
    described = dict(zip(parts[1::2], parts[2::2], strict=True))
    common = {field.name for field in dataclasses.fields(specs.Spec)}
    for field in dataclasses.fields(spec):
        text = parts[0] if field.name in common else described[spec.__name__]
        assert re.search(rf"`{field.name}\b", text), field.name


def test_the_ten_minute_plugin(tmp_path: Path) -> None:
    guide = ROOT / "CONTRIBUTING.md"
    package = tmp_path / "ddeep-loudest"
    package.mkdir()
    for block in code_blocks(guide, "toml") + code_blocks(guide, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        (package / name).write_text(block, encoding="utf-8")
    assert sorted(path.name for path in package.iterdir()) == ["ddeep_loudest.py", "pyproject.toml", "test_loudest.py"]

    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    stands_for = {"pip install --editable": install, "ddeep": [sys.executable, "-m", "ddeep"]}
    stands_for["pytest"] = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    ran = [pair for block in code_blocks(guide, "console") for pair in commands(block)]
    assert len(ran) == 5
    for command, expected in ran:
        start = next(start for start in stands_for if command.startswith(start + " "))
        words = [*stands_for[start], *shlex.split(command.removeprefix(start))]
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
        printed = [line.split() for line in done.stdout.splitlines()]  # widths depend on what else is installed
        wanted = [line.split() for line in expected if line != "..."]
        assert [line for line in printed if line in wanted] == wanted, command
        assert "..." in expected or not done.stdout or printed == wanted, command


def test_the_python_document_runs_and_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = ROOT / "docs" / "python.md"
    names: dict[str, Any] = {}
    for block in code_blocks(document, "python"):
        exec(block, names)
    full, decomposed, refitted, learned = names["accuracies"]
    assert decomposed < min(full, refitted, learned)
    assert names["selection"].source["layer"] == "3"
    assert names["again"].filters == names["selection"].filters
    assert names["figures"]["psi"]["median"] > 0
    assert names["means"].shape == (10, 64)
    assert names["result"].document["accuracy"]["full"] > 99
    assert Path("digits.pt2").exists()
    images = names["images"][1400:1420]
    logits, weight = names["refitted"].eval()(images), names["small"].get_submodule("6").weight
    assert (names["small"](images) - logits[:, [3, 8]]).abs().max() < 1e-4
    assert weight.shape[0] == 2
    assert weight.shape[1] < 64
    assert names["smaller"].get_submodule("0").weight.shape[0] == 28
    assert (names["without"](images)[:, 3] != names["model"].eval()(images)[:, 3]).any()
    text = document.read_text(encoding="utf-8")
    functions = {name for name in ddeep.__all__ if name.islower()} - {"hookimpl"}
    assert {name for name in functions if f"ddeep.{name}(" not in text} == set()


@pytest.mark.parametrize(("classes", "filters"), [(3, 5), (10, 64)])
def test_the_document_says_what_every_statistic_takes(classes: int, filters: int) -> None:
    text = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8").partition("\n## Memory\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    stated = {name: formula.split("`")[1] for names, formula in rows for name in re.findall(r"`(\w+)`", names)}
    own = {"k": 2, "m": 6, "bins": 16, "q": 0.5, "among": None}  # what statistics may be made with
    found = [kind for kind in _kinds(Statistic) if kind.__module__.startswith("ddeep.") and "start" in vars(kind)]
    assert len(found) >= 14
    for kind in found:
        made = kind(**{field.name: own[field.name] for field in fields(kind) if field.init})  # type: ignore[arg-type]
        formula = stated[kind.__name__]
        assert made.nbytes(classes, filters) == eval(formula, {"C": classes, "K": filters} | own), formula


def _kinds(kind: type[Statistic]) -> list[type[Statistic]]:
    """Statistics below ``kind``."""
    return [grown for child in kind.__subclasses__() for grown in [child, *_kinds(child)]]
