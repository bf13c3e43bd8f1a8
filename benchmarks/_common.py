"""What the benchmarks share: sides timed alternately, medians, goals, and commands in processes of their own.

Nothing here imports torch, so that the process that starts the others stays thin.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

WATCH = Path(__file__).with_name("_watch.py")


@dataclass(frozen=True)
class Settings:
    """How much to measure: ``quick`` tries everything at a toy size, with figures that say nothing."""

    data_dir: Path = Path("data")
    quick: bool = False

    def sized(self, full: int, toy: int) -> int:
        """``full``, or ``toy`` where it need only work."""
        return toy if self.quick else full


class Cost(NamedTuple):
    """Seconds on the clock and of the processor (all threads), and where it is known the peak resident memory."""

    seconds: float
    processor: float
    gigabytes: float | None = None


Side = Callable[[], Cost]


def clocked(work: Callable[[], object]) -> Side:
    """A side that times ``work`` in this process."""

    def run() -> Cost:
        start, processor = time.perf_counter(), time.process_time()
        work()
        return Cost(time.perf_counter() - start, time.process_time() - processor)

    return run


def repeated(work: Callable[[], object], least: float = 0.05) -> Side:
    """A side for something short: as often as ``least`` seconds take, the mean of which counts."""

    def run() -> Cost:
        start, processor, times = time.perf_counter(), time.process_time(), 0
        while not times or time.perf_counter() - start < least:
            work()
            times += 1
        return Cost((time.perf_counter() - start) / times, (time.process_time() - processor) / times)

    return run


def alternate(sides: Mapping[str, Side], rounds: int, *, warm_up: int = 1) -> dict[str, list[Cost]]:
    """The costs of every side by round, after ``warm_up`` rounds that do not count.

    Every other round runs the sides in reverse, so that none profits from what another has warmed.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(-warm_up, rounds):
        for name in sides if number % 2 else reversed(sides):
            cost = sides[name]()
            if number >= 0:
                costs[name].append(cost)
            print(
                f"  {'warm-up' if number < 0 else f'round {number + 1}'}: {name} {cost.seconds:.4g} s", file=sys.stderr
            )
    return costs


@dataclass(frozen=True)
class Figure:
    """One number, and where there is a goal what it should be at most or at least."""

    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    sense: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.sense == "at most" else self.value >= self.goal


@dataclass
class Report:
    """What a benchmark found: costs by side, the figures made of them, and what they were measured on."""

    setting: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def seconds(self, side: str) -> float:
        """Median seconds of a side."""
        return statistics.median(cost.seconds for cost in self.costs[side])

    def gigabytes(self, side: str) -> float:
        """Median peak memory of a side."""
        return statistics.median(cost.gigabytes for cost in self.costs[side] if cost.gigabytes is not None)

    def ratio(self, one: str, other: str) -> float:
        """How many times as long ``one`` takes as ``other``, by their medians."""
        return self.seconds(one) / self.seconds(other)

    def add(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Note a figure, with its goal if it has one."""
        sense: Literal["at most", "at least"] = "at most" if at_least is None else "at least"
        self.figures.append(Figure(name, value, unit, at_most if at_least is None else at_least, sense))

    def document(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "setting": self.setting,
            "figures": [{**asdict(figure), "met": figure.met} for figure in self.figures],
            "median_seconds": {name: self.seconds(name) for name in self.costs},
            "costs": {name: [cost._asdict() for cost in costs] for name, costs in self.costs.items()},
            **self.details,
        }


class Finished(NamedTuple):
    """A command that has ended well: what it cost and what it printed."""

    cost: Cost
    output: str


def command(words: Sequence[str], **environment: str) -> Finished:
    """Run ``python <words>`` in a process of its own; its peak memory is its own, or its largest child's. Or an error.

    A process starts out with the peak of the one that started it, which may be large; ``watch.py`` stands between.
    """
    with tempfile.TemporaryDirectory() as folder:
        measured, log = Path(folder) / "cost.json", Path(folder) / "log"
        call = [sys.executable, "-S", "-E", str(WATCH), str(measured), sys.executable, *words]
        with log.open("wb") as errors:
            done = subprocess.run(call, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors)
        if done.returncode:
            raise SystemExit(f"python {' '.join(words)} failed:\n{log.read_text(errors='replace')[-2000:]}")
        return Finished(Cost(**json.loads(measured.read_text())), done.stdout.decode())


def converted_only(cache: Path, place: Path) -> Path:
    """A cache folder at ``place`` that holds the converted images of ``cache`` and nothing else."""
    place.mkdir(parents=True)
    (cache / "datasets").mkdir(parents=True, exist_ok=True)
    (place / "datasets").symlink_to((cache / "datasets").resolve())
    return place
