"""The wheel: what `pip install` leaves is whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import ddeep
from tests.support.paths import ROOT

PACKAGES = ("ddeep", "ddeep_plugins_builtin")


def test_the_wheel_holds_every_file_of_both_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    expected = {path.relative_to(source).as_posix() for name in PACKAGES for path in (source / name).rglob("*.*")}

    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("ddeep-*.whl")
    assert wheel.name.startswith(f"ddeep-{ddeep.__version__}-")
    with ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert expected <= held, sorted(expected - held)
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert {name.split("/")[0] for name in held} <= {*PACKAGES, f"ddeep-{ddeep.__version__}.dist-info"}
