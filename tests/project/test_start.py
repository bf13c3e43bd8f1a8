"""docs/start.md: its commands run, and print what it shows, as far as another machine may round otherwise."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.support.consoles import run_all
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
POINTS = 3.0  # a few of 364 images


def test_ten_minutes(tmp_path: Path) -> None:
    tools, work = tmp_path / "bin", tmp_path / "work"
    tools.mkdir()
    work.mkdir()
    (tools / "ddeep").write_text(f'#!/bin/sh\nexec {sys.executable} -m ddeep "$@"\n')
    (tools / "ddeep").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "DDEEP_CACHE": str(tmp_path / "cache")}
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.M | re.S)
    assert sum(run_all(block, environ, work, within=POINTS) for block in blocks) == 4
    assert (work / "runs" / "digits" / "explanations" / "test-20.png").exists()
