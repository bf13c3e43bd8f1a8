"""scripts/environment, with a stand-in for Python that records what it is asked to install."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TOOLS = ["sh", "cat", "cksum", "cp", "dirname", "kill", "ls", "mkdir", "pwd", "rm"]

# Any `-c` succeeds as long as the file named by OLD is absent; pip appends its arguments to a log.
STAND_IN = """#!/bin/sh
case "$1 $2" in
"-c "*) [ ! -e "$OLD" ] ;;
"--version "*) echo Python 3.0 ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip") echo "$@" >>"$LOG"; [ -z "$KILL" ] || kill -9 "$PPID"; exit "${PIP:-0}" ;;
esac
"""


@dataclass
class Project:
    folder: Path
    environ: dict[str, str]

    def make(self, level: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", self.folder / "scripts" / "environment", level],
            env={**self.environ, **environ},
            capture_output=True,
            encoding="utf-8",
        )

    @property
    def installations(self) -> list[str]:
        log = Path(self.environ["LOG"])
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of what the script reads, in a folder with a space in its name, and a path that holds one Python only."""
    folder = tmp_path / "a b"
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    (tools / "python3").write_text(STAND_IN)
    (tools / "python3").chmod(0o755)
    (folder / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "scripts/environment"):
        shutil.copy(ROOT / name, folder / name)
    environ = {"PATH": str(tools), "LOG": str(tmp_path / "log"), "OLD": str(tmp_path / "old"), "KILL": ""}
    return Project(folder, environ)


def test_it_installs_once(project: Project) -> None:
    assert project.make("run").returncode == 0
    assert project.make("run").stdout == ""
    assert len(project.installations) == 1
    assert project.installations[0].endswith("--constraint constraints.txt --quiet --editable .")


def test_the_tests_environment_is_the_same_one_with_more(project: Project) -> None:
    plugin = project.folder / "plugins" / "stranger"
    plugin.mkdir(parents=True)
    (plugin / "pyproject.toml").write_text("[project]\n")
    project.make("run")
    project.make("test")
    assert project.installations[1].endswith("--editable .[test,onnx,docs] --editable plugins/stranger")
    project.make("run")
    project.make("test")
    assert len(project.installations) == 2


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "scripts/environment"])
def test_a_change_of_what_it_is_made_from_installs_again(project: Project, name: str) -> None:
    project.make("test")
    (project.folder / ".venv" / "kept").touch()
    with (project.folder / name).open("a") as file:
        file.write("\n# changed\n")
    project.make("run")
    assert len(project.installations) == 2
    assert "--editable .[test,onnx,docs]" in project.installations[1]  # the test tools stay
    assert (project.folder / ".venv" / "kept").exists()


@pytest.mark.parametrize("environ", [{"KILL": "1"}, {"PIP": "1"}])
@pytest.mark.parametrize("before", [[], ["run"]])
def test_a_broken_off_installation_does_not_pass_as_whole(
    project: Project, environ: dict[str, str], before: list[str]
) -> None:
    for level in before:
        project.make(level)
    assert project.make("test", **environ).returncode in (1, -signal.SIGKILL)
    leftover = project.folder / ".venv" / "half-installed"
    leftover.touch()
    assert project.make("run").returncode == 0
    assert not leftover.exists()
    assert len(project.installations) == len(before) + 2


def test_a_moved_folder_or_a_lost_python_is_noticed(project: Project) -> None:
    project.make("run")
    (project.folder / ".venv" / "bin" / "python").unlink()
    project.make("run")
    assert len(project.installations) == 2
    moved = project.folder.with_name("c d")
    project.folder.rename(moved)
    Project(moved, project.environ).make("run")
    assert len(project.installations) == 3


def test_an_old_python_is_a_clear_error(project: Project) -> None:
    Path(project.environ["OLD"]).touch()
    done = project.make("run")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ddeep needs Python 3.11 or newer")
    assert "Python 3.0" in done.stderr
    assert not (project.folder / ".venv").exists()


def test_another_python_can_be_named(project: Project) -> None:
    tools = Path(project.environ["PATH"])
    (tools / "python3").rename(tools / "mine")
    assert project.make("run").returncode == 1
    assert project.make("run", PYTHON="mine").returncode == 0


def test_make_works_in_a_folder_with_a_space(project: Project) -> None:
    make = shutil.which("make")
    assert make is not None
    shutil.copy(ROOT / "Makefile", project.folder)
    done = subprocess.run([make, "run"], cwd=project.folder, env=project.environ, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ".venv/bin/python -m ddeep run --model resnet20 --strategy paper"
    assert len(project.installations) == 1
