"""What tests and fixtures hand each other."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and its two outputs."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        def no_constant(name: str) -> None:
            raise ValueError(f"{name} is not JSON")

        return json.loads(self.out, parse_constant=no_constant)


@dataclass
class Distributions:
    """Throw-away distributions: a module and a dist-info folder each, which is all that an installation leaves."""

    site: Path
    behind: Path  # later on the path
    monkeypatch: pytest.MonkeyPatch
    run: Callable[..., Outcome]

    def install(
        self,
        name: str,
        code: str,
        *,
        entry: str = "plugin",
        version: str = "1.0",
        site: Path | None = None,
        entry_points: str | None = None,
    ) -> str:
        """Install ``code`` as a plugin of distribution ``name`` and return its module's name."""
        site = site or self.site
        stem = re.sub(r"\W", "_", name)
        module = self.module(f"{stem}_{entry}", code, site=site)
        info = site / f"{stem}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points or f"[ddeep]\n{entry} = {module}\n")
        importlib.invalidate_caches()
        return module

    def module(self, name: str, code: str, *, site: Path | None = None) -> str:
        """Write a module and make sure that a later import reads it anew."""
        ((site or self.site) / f"{name}.py").write_text(code)
        self.monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    def cli(self, *args: object) -> Outcome:
        """Run ``ddeep`` in a process that sees these distributions."""
        path = [str(self.site), str(self.behind), os.environ.get("PYTHONPATH", "")]
        return self.run(*args, env={"PYTHONPATH": os.pathsep.join(filter(None, path))})
