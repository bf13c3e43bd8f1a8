"""`ddeep plugins new` and `check`: what a plugin's author meets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from zipfile import ZipFile

import pytest

from ddeep.errors import ConfigError
from ddeep.registry.scaffold import Kind, bounds, write_plugin
from tests.support.helpers import Distributions, Outcome
from tests.support.paths import ROOT

KINDS = get_args(Kind)
Cli = Callable[..., Outcome]


def python(*args: object, cwd: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=cwd, env=environ, capture_output=True, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A new package of each kind, installed: the folder that holds the packages, and the one they are installed in."""
    folder, site = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("site")
    packages = [write_plugin(f"ddeep-new-{kind}", kind, folder) for kind in KINDS]
    pip = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    done = python(*pip, *packages, cwd=folder, site=site)
    assert done.returncode == 0, done.stderr
    return folder, site


def test_new_packages_pass_their_own_tests(installed: tuple[Path, Path]) -> None:
    folder, site = installed
    done = python("pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "-rs", ".", cwd=folder, site=site)
    assert done.returncode == 0, done.stdout
    # A new model has no weights to load.
    assert done.stdout.count("SKIPPED") == 1


def test_new_packages_show_up(installed: tuple[Path, Path]) -> None:
    shown = python("ddeep", "plugins", cwd=installed[0], site=installed[1]).stdout
    for kind in KINDS:
        plural = "strategies" if kind == "strategy" else f"{kind}s"
        words = [f"ddeep-new-{kind}:new-{kind}", "0.1", "loaded", f"{plural}:", f"new-{kind}"]
        assert words in [line.split() for line in shown.splitlines()]


def test_new_strategies_select(installed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, site = installed
    run = ["run", "--model", "resnet20", "--strategy", "new-strategy", "--no-refit", "--out", tmp_path / "run"]
    done = python("ddeep", *run, cwd=folder, site=site)
    assert done.returncode == 0, done.stderr
    assert "resnet20 on digits, layer layer3.2, new-strategy, k = 5" in done.stdout


def test_new_says_what_it_wrote_and_what_to_do(cli_here: Cli, tmp_path: Path) -> None:
    done = cli_here("plugins", "new", "ddeep-mine", "--kind", "metric")
    assert (done.status, done.out) == (
        0,
        "Wrote ddeep-mine: .github/workflows/tests.yml, LICENSE, README.md, ddeep_mine.py, pyproject.toml, "
        "tests/test_contract.py, tests/test_metric.py\n",
    )
    assert "pip install --editable './ddeep-mine[test]'" in done.err
    assert 'name = "ddeep-mine"' in (tmp_path / "ddeep-mine" / "pyproject.toml").read_text()
    again = cli_here("plugins", "new", "ddeep-mine")
    assert again == Outcome(1, "", "error: ddeep-mine exists. Choose another name, or remove it.\n")
    document = cli_here("plugins", "new", "mine", "--json").json
    assert (document["folder"], len(document["files"])) == ("mine", 7)


@pytest.mark.parametrize(
    ("version", "bound"), [("0.1.0", "ddeep>=0.1,<0.2"), ("0.12.3", "ddeep>=0.12,<0.13"), ("2.3.0", "ddeep>=2.3,<3")]
)
def test_plugins_depend_on_what_they_were_tested_with(version: str, bound: str) -> None:
    assert bounds(version) == bound


def test_new_packages_can_be_published(tmp_path: Path) -> None:
    """As they are: a wheel with its licence and bounds, and a CI file that is one."""
    folder = write_plugin("ddeep-mine", "strategy", tmp_path)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, folder]
    subprocess.run([str(word) for word in build], check=True, capture_output=True)
    with ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        metadata = archive.read("ddeep_mine-0.1.dist-info/METADATA").decode()
        assert b"Apache License" in archive.read("ddeep_mine-0.1.dist-info/licenses/LICENSE")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert re.search(r"\nRequires-Dist: ddeep<[\d.]+,>=[\d.]+\n", metadata)
    workflow = folder / ".github" / "workflows" / "tests.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    assert subprocess.run(check, capture_output=True).returncode == 0
    assert "${{ matrix.python }}" in workflow.read_text()
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert f'python: ["{supported[0]}", "{supported[-1]}"]' in workflow.read_text()


@pytest.mark.parametrize("name", ["Mine", "my mine", "../mine", "ddeep", "mine-", ""])
def test_names_that_no_package_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a package"):
        write_plugin(name, "model", tmp_path)
    assert list(tmp_path.iterdir()) == []


BAD = """
from ddeep import StrategySpec, hookimpl
@hookimpl
def ddeep_strategies():
    yield StrategySpec("bad", select=lambda evidence, k, context: [], summary="nothing", source="here")
"""


def test_check_shows_each_promise_and_what_to_fix(distributions: Distributions) -> None:
    distributions.install("ddeep-bad", BAD)
    done = distributions.cli("plugins", "check", "ddeep-bad")
    assert done.status == 1
    rows = [line.split() for line in done.out.splitlines()]
    assert ["strategies", "bad", "its", "metadata", "is", "complete", "kept"] in rows
    assert ["strategies", "bad", "it", "is", "deterministic", "broken"] in rows
    assert "broken: strategies: bad: it is deterministic: SelectionError: The strategy 'bad' gave a list" in done.out
    assert done.out.splitlines()[-2].startswith("Of 15 promises ")
    assert re.search(r"\nddeep-bad [\d.]+ keeps \d+ of 15 promises to ddeep [\d.]+\n$", done.out)
    document = distributions.cli("plugins", "check", "ddeep-bad", "--json").json
    assert document["broken"] == sum(check["result"] == "broken" for check in document["checks"]) > 0


def test_check_of_a_good_plugin(cli_here: Cli) -> None:
    done = cli_here("plugins", "check", "ddeep:datasets", "--json")
    assert done.status == 0
    results = {(check["name"], check["promise"]): check["result"] for check in done.json["checks"]}
    assert results["digits", "it opens to images"] == "kept"
    assert results["imagenet", "it opens to images"] == "unchecked"  # there is no data folder here


def test_check_of_an_unknown_plugin(cli_here: Cli) -> None:
    done = cli_here("plugins", "check", "ddep")
    assert done.status == 1
    assert "No plugin 'ddep' is installed. Did you mean 'ddeep'" in done.err
