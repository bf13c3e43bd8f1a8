"""What a result was made with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "accelerate", "numpy")


def versions() -> dict[str, str]:
    """Versions of ddeep, Python and the libraries that results depend on."""
    from . import __version__

    return {"ddeep": __version__, "python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


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
