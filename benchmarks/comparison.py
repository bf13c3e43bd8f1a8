"""What comparing costs, against a single run; and many layers against one. Prints JSON.

    python benchmarks/comparison.py --data-dir data

Every command runs in a process of its own, the two sides of a ratio alternately, several rounds; medians count, on the
clock and in processor time. ``cold``: all strategies that need neither gradients nor learning, five k, no refits,
against ``ddeep run --no-refit``, both with an empty response cache (the images are converted already). ``layers``:
``ddeep measure`` of the ten block outputs against the last alone, as cold, with the peak memory. ``warm``: everything
but the gradient strategies, with refits, from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ddeep.plugins import registry
from ddeep.store import cache_root
from ddeep.versions import machine, versions

MODEL, KS = ("--model", "resnet20", "--dataset", "cifar10"), "2,3,5,10,20"
BLOCKS, LAST = ("relu", "layer?.?"), "layer3.2"
GOALS = {"cold": 1.5, "layers": 1.15, "layers_gigabytes": 1.5, "warm_seconds": 60}


class Cost(NamedTuple):
    """Seconds on the clock, of the processor, and the peak memory, of one command."""

    seconds: float
    processor: float
    gigabytes: float


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments.add_argument("--weights", help="default: the model's own for the dataset")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    common = [*MODEL, "--data-dir", str(given.data_dir.resolve())]
    common += ["--weights", given.weights] if given.weights else []
    strategies = registry().strategies
    plain = [name for name, spec in strategies.items() if not spec.gradients and not spec.learned]
    no_gradients = [name for name, spec in strategies.items() if not spec.gradients]
    warm_compare = ["compare", *common, "--strategies", *no_gradients, "--k", KS]
    sides = {
        "run": ["run", *common, "--strategy", "paper", "--no-refit"],
        "compare": ["compare", *common, "--strategies", *plain, "--k", KS, "--no-refit"],
        "layer": ["measure", *common, "--layers", LAST],
        "layers": ["measure", *common, *(word for name in BLOCKS for word in ("--layers", name))],
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command(["run", *common, "--strategy", "paper", "--no-refit"], place, cache_root())  # converts the images
        costs: dict[str, list[Cost]] = {name: [] for name in (*sides, "warm")}
        for _ in range(given.rounds):
            for name, words in sides.items():
                costs[name].append(command(words, place, cold(place)))
        for _ in range(1 + given.rounds):
            costs["warm"].append(command(warm_compare, place, cache_root()))
    costs["warm"] = costs["warm"][1:]  # the first fills the cache
    median = {
        name: Cost(*(statistics.median(column) for column in zip(*rows, strict=True))) for name, rows in costs.items()
    }
    found = {
        "schema": "ddeep.benchmark.comparison/1",
        "strategies": plain,
        "warm_strategies": no_gradients,
        "rounds": given.rounds,
        "costs": {name: [row._asdict() for row in rows] for name, rows in costs.items()},
        "cold": ratio(median["compare"], median["run"]),
        "layers": ratio(median["layers"], median["layer"]),
        "layers_gigabytes": median["layers"].gigabytes,
        "warm_seconds": median["warm"].seconds,
        "goals": GOALS,
        "machine": {**machine(), "load_average": os.getloadavg()[0]},
        "versions": versions(),
    }
    print(json.dumps(found, indent=2))
    return 0


def ratio(one: Cost, other: Cost) -> dict[str, float]:
    """How much more ``one`` takes than ``other``."""
    return {"clock": one.seconds / other.seconds, "processor": one.processor / other.processor}


def cold(place: Path) -> Path:
    """A cache that holds the converted images and nothing else."""
    root = place / "cache"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "datasets").symlink_to((cache_root() / "datasets").resolve())
    return root


def command(words: Sequence[str], place: Path, cache: Path) -> Cost:
    """Run ddeep with a cache and an output of its own; an error where it fails."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    environment: dict[str, Any] = {**os.environ, "DDEEP_CACHE": str(cache)}
    start = time.perf_counter()
    with (place / "log").open("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "ddeep", *words, "--out", str(out)], env=environment, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        log.seek(0)
        if status:
            raise SystemExit(f"ddeep {' '.join(words)} failed:\n{log.read()[-2000:]}")
    kilo = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * kilo / 1e9)


if __name__ == "__main__":
    sys.exit(main())
