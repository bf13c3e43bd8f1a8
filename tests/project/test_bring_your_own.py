"""The page "bring your own": every command and line on it, as a user would type it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.project.test_documents import code_blocks, commands
from tests.support.helpers import Outcome
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "bring-your-own.md"


def test_every_command_runs(tmp_path: Path, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_OWN_CODE", "")  # --own-code changes it
    (tmp_path / "mine.py").write_text(code_blocks(PAGE, "python")[0])
    (block,) = code_blocks(PAGE, "console")
    lines = [line for line, _ in commands(block)]
    assert len(lines) == 5
    for line in lines:
        done = cli_here(*shlex.split(line)[1:])
        assert done.status == 0, f"{line}: {done.err}"
        assert "Without images" not in done.err
    assert "fc:input" in cli_here(*shlex.split(lines[0])[1:]).out


def test_every_line_of_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    blocks = code_blocks(PAGE, "python")
    (tmp_path / "mine.py").write_text(blocks[0])
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), scope)
    selection = scope["selection"]
    assert scope["result"].document["accuracy"]["refit"] is not None
    assert scope["tuned"].document["accuracy"]["finetuned"] is not None
    assert scope["page"].page.exists()
    assert not scope["page"].missing
    assert len(scope["table"].document["rows"]) == 4
    assert selection.source["layer"] == "fc:input"
    for name in ("torch_compiled", "averaged", "of_three", "of_names", "inputs"):
        assert scope[name].filters == selection.filters, name
    assert scope["several"].source["layer"] == "fc:input"
    assert scope["inner"].num_filters == 32
    monkeypatch.delitem(sys.modules, "mine", raising=False)
