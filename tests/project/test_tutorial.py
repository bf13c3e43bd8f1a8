"""docs/plugins.md, run word for word in a fresh environment: its files written, its commands run, their output seen."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.consoles import run_all
from tests.support.paths import ROOT

TUTORIAL = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").partition("\n## The hooks\n")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.M | re.S)


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A virtual environment that sees this one's packages, and into which plugins can be installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    bin_ = folder / "bin"
    (site,) = folder.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for command in ("ddeep", "pip", "pytest"):
        (bin_ / command).write_text(f'#!/bin/sh\nexec {bin_}/python -m {command} "$@"\n')
        (bin_ / command).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "DDEEP_CACHE": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",  # files change within a second here
        # Everything needed is here: nothing is fetched.
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying 1
        "PIP_NO_INDEX": "1",
    }


def test_the_tutorial(environ: dict[str, str], tmp_path: Path) -> None:
    commands = 0
    for language, text in BLOCKS:
        if language == "console":
            commands += run_all(text, environ, tmp_path)
        elif language != "text":
            name = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"[\w/.-]+", name), f"the first line of a file must name it, not {name!r}"
            (tmp_path / name).write_text(text, encoding="utf-8")
    assert commands == sum(line.startswith("$ ") for line in TUTORIAL.splitlines()) > 10


def test_what_breaks_without_the_clamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message that the tutorial quotes."""
    from dataclasses import replace

    from ddeep.registry.specs import StrategySpec
    from ddeep.testing import BrokenPromise
    from ddeep.testing.contract import Check, _promises

    source = next(text for _, text in BLOCKS if text.startswith("# ddeep-loud/ddeep_loud_statistic.py"))
    (tmp_path / "ddeep_peak_statistic.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    from ddeep_peak_statistic import ClassPeaks

    loud = StrategySpec("loud", needs=lambda _: [ClassPeaks()], select=lambda e, *_: e[ClassPeaks()].peaks)
    (promise,) = (p for p in _promises("strategies", loud) if "absent" in p.text)
    with pytest.raises(BrokenPromise) as raised:
        Check("strategies", loud, promise, tmp_path)()
    assert f"broken: {raised.value}\n" in dict(BLOCKS)["text"]
    clamped = replace(loud, select=lambda e, *_: e[ClassPeaks()].peaks.clamp(min=0))
    Check("strategies", clamped, promise, tmp_path)()
    monkeypatch.delitem(sys.modules, "ddeep_peak_statistic")
