"""What a result was made with."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSION = "0.1.0"

_PACKAGES = ("torch", "torchvision", "accelerate", "numpy")


def versions() -> dict[str, str]:
    """Versions of ddeep, Python and the libraries that results depend on."""
    return {"ddeep": VERSION, "python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def provenance(hashes: Mapping[str, str], plugins: Mapping[str, str]) -> dict[str, Any]:
    """What every result file records: ``hashes`` of weights and images, and versions, those of ``plugins`` included."""
    return {
        "hashes": dict(hashes),
        "plugins": dict(plugins),
        "versions": {"ddeep": VERSION, "torch": version("torch"), "python": platform.python_version()},
    }


def machine() -> dict[str, str | int]:
    """The kind of machine: processor and how many of its threads, operating system."""
    return {"processor": _processor(), "threads": os.cpu_count() or 1, "system": platform.system()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@dataclass
class Timings:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time the block takes to the phase called ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
