"""Measure what ddeep costs: ``python -m benchmarks [NAME ...]``, all by default. JSON to a file, a table on screen.

Each benchmark runs in a process of its own. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ddeep._platform import keep_freed_memory
from ddeep.files.atomic import written_whole
from ddeep.provenance import machine, versions

from ._common import Settings

SCHEMA = "ddeep.benchmarks/1"
NAMES = (
    "start_up",
    "bare_loop",
    "plain_pipeline",
    "breadth",
    "decomposed_head",
    "statistics_alone",
    "refits",
    "joint_selection",
    "training",
    "commands",
    "memory",
)
BY_ITSELF = ("gpu", "thousand_classes")  # only where it is named: a GPU, or most of an hour


def main(words: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES + BY_ITSELF)}")
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments.add_argument("--quick", action="store_true", help="try everything at toy sizes; the figures say nothing")
    arguments.add_argument("--out", type=Path, default=Path("runs/benchmarks.json"), help="default: %(default)s")
    arguments.add_argument("--table", type=Path, metavar="JSON", help="measure nothing: print the table of a document")
    given = arguments.parse_args(words)
    if given.table is not None:
        show(json.loads(given.table.read_text(encoding="utf-8")), markdown=True)
        return 0
    unknown = [name for name in given.names if name not in NAMES + BY_ITSELF]
    if unknown:
        arguments.error(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    settings = Settings(given.data_dir.resolve(), given.quick)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    started, load = time.perf_counter(), os.getloadavg()[0]
    keep_freed_memory()  # as the command line does: all sides in this process have it
    if len(given.names) == 1:
        found, failed = (
            {given.names[0]: import_module(f".{given.names[0]}", __package__).measure(settings).document()},
            [],
        )
    else:
        found, failed = in_processes(given.names or NAMES, settings)
    document = {
        "schema": SCHEMA,
        "quick": settings.quick,
        "seconds": round(time.perf_counter() - started, 1),
        "load_average_before": load,
        "benchmarks": found,
        "failed": failed,
        "machine": machine(),
        "versions": versions(),
    }
    with written_whole(given.out) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    show(document)
    print(f"{given.out} holds every round.", file=sys.stderr)
    return 1 if failed else 0


def in_processes(names: tuple[str, ...] | list[str], settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Every benchmark by itself: none starts from what another has left in memory, and none takes others with it."""
    found: dict[str, Any] = {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        for name in names:
            print(f"{name}:", file=sys.stderr)
            words = ["-m", "benchmarks", name, "--out", str(out), "--data-dir", str(settings.data_dir)]
            words += ["--quick"] * settings.quick
            if subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL).returncode:
                failed.append(name)
            else:
                part = json.loads(out.read_text(encoding="utf-8"))
                found[name] = {"seconds": part["seconds"], **part["benchmarks"][name]}
    return found, failed


def show(document: dict[str, Any], *, markdown: bool = False) -> None:
    """The table of figures, each with its goal."""
    table = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    for column in ("benchmark", "figure", "measured", "goal", "met"):
        table.add_column(column, justify="right" if column in {"measured", "goal"} else "left", no_wrap=markdown)
    for name, found in document["benchmarks"].items():
        for number, row in enumerate(found["figures"]):
            unit = f" {row['unit']}" if row["unit"] else ""
            goal = (
                ""
                if row["goal"] is None
                else f"{'≤' if row['sense'] == 'at most' else '≥'} {_shown(row['goal'])}{unit}"
            )
            met = {None: "", True: "yes", False: "no"}[row["met"]]
            table.add_row(
                name if number == 0 or markdown else "", row["name"], f"{_shown(row['value'])}{unit}", goal, met
            )
    for name in document["failed"]:
        table.add_row(name, "failed", "", "", "no")
    Console(width=180 if markdown else None).print(table)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
