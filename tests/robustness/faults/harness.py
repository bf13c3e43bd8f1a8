"""Kill commands with SIGKILL at random moments, again and again, and look what is lost. Prints how many.

python -m tests.robustness.faults.harness --kills 500
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddeep.errors import DdeepError
from ddeep.files.atomic import sha256_of
from ddeep.registry.registry import registry
from tests.robustness.faults.forked import Forked
from tests.robustness.faults.scenarios import SCENARIOS, Scenario, alike

START = 0.1  # seconds: before that, the command line is not yet read
WORK = [
    f"ddeep.experiments.{name}"
    for name in (
        *("compare", "cut", "explain", "export", "finetune", "forget"),
        *("measure", "merge", "merge_modules", "run", "train"),
    )
]
KILLS_IN_A_PLACE = 8  # each going on with what the last has left, before one is let finish


@dataclass
class Tally:
    """Kills so far, and what was lost by them."""

    kills: int = 0
    finished: int = 0  # commands that ended before their kill
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """A cache and a folder of outputs of their own, and the images to read."""

    folder: Path
    data: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def start(self, scenario: Scenario, out: str, log: str = "") -> Forked:
        """Start the command that writes ``out``; what it says goes to the file ``log``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scenario.prepare(self.cache)
        environment = {"DDEEP_CACHE": str(self.cache), "DDEEP_OFFLINE": "1"}
        arguments = scenario.arguments(self.folder / out, self.data)
        return Forked.start(arguments, self.folder, environment, self.folder / f"{log or out}.log")

    def lost(self, scenario: Scenario, expected: Any) -> list[str]:
        """What is wrong: half files under final names, outputs that do not load or hold something else."""
        problems = []
        for out in sorted(path for path in self.folder.glob("out*") if path.is_dir()):
            try:
                if scenario.go_on and not (out / "run.json").exists():
                    continue  # a folder in which training has not begun
                if not scenario.unfinished(out) and not alike(scenario.result(out), expected):
                    problems.append(f"{out}: another result")
            except (DdeepError, OSError, ValueError, KeyError, AssertionError) as error:
                problems.append(f"{out}: {type(error).__name__}: {error}")
        return problems + lost_in_cache(self.cache)


def lost_in_cache(cache: Path) -> list[str]:
    """Entries that are not what they say."""
    problems = []
    for about in cache.glob("responses/*/responses/about.json"):
        rows = about.with_name("responses.npy")
        try:
            if json.loads(about.read_text())["sha256"] != sha256_of(rows):
                problems.append(f"{rows}: not what its hash says")
            np.load(rows, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            problems.append(f"{rows}: {error}")
    return problems


def leftovers(folder: Path) -> list[str]:
    """What killed commands have left, no other goes on with, and the next start should have removed."""
    patterns = (".ddeep-*.tmp", "cache/**/.ddeep-*.tmp", "cache/passes/*.*")
    return [f"{path}: was not cleaned up" for pattern in patterns for path in folder.glob(pattern)]


def kill_at_random(scenario: Scenario, folder: Path, kills: int, interrupts: int, seed: int) -> Tally:
    """Kill the command so many times, at any moment of the time that a whole one takes.

    Every few kills one is let finish: it must work, find what the first one found, and clean up. Among them are
    ``interrupts`` that ask it to end instead, as a terminal does: it says so in one line and exits with 130.
    """
    chance, tally, data = random.Random(f"{scenario.name} {seed}"), Tally(), folder / "images"
    asks = [True] * interrupts + [False] * kills
    chance.shuffle(asks)
    scenario.make_images(data)
    reference = Place(folder / "reference", data)
    process = reference.start(scenario, "out0")  # a name that is no part of other words
    began = time.monotonic()
    assert process.wait() == 0, process.said()
    # Of a command that starts afresh, and of one that goes on with what is there. A machine busy with other things may
    # have made the first too long: then hardly a command would live to be killed.
    durations = dict.fromkeys((True, False), time.monotonic() - began)
    expected = scenario.result(reference.folder / "out0")
    places = 0
    while tally.kills < len(asks):
        places += 1
        place = Place(folder / f"place-{places}", data)
        for _ in range(min(KILLS_IN_A_PLACE, len(asks) - tally.kills)):
            fresh, ctrl_c = not place.folder.exists(), asks[tally.kills]
            process = place.start(scenario, _next_out(place.folder, scenario))
            began = time.monotonic()
            moment = chance.uniform(START if ctrl_c else 0, 1.05 * durations[fresh])
            while process.running() and time.monotonic() - began < moment:
                time.sleep(0.002)
            if process.running() and ctrl_c:
                tally.kills += 1
                tally.problems += _interrupt(process)
            elif process.running():
                process.kill()
                tally.kills += 1
            else:
                durations[fresh] = min(durations[fresh], time.monotonic() - began)
                tally.finished += 1
                if process.status != 0:
                    tally.problems.append(f"{place.folder}: it failed: {process.said()}")
            tally.problems += place.lost(scenario, expected)
        last = _next_out(place.folder, scenario)
        process = place.start(scenario, last)
        if process.wait() != 0:
            tally.problems.append(f"{place.folder}: the next start failed: {process.said()}")
        elif not alike(scenario.result(place.folder / last), expected):
            tally.problems.append(f"{place.folder}: the next start found something else")
        tally.problems += place.lost(scenario, expected) + leftovers(place.folder)
        print(
            f"{scenario.name}: {tally.kills} of {len(asks)}, {len(tally.problems)} lost anything",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(place.folder)
    return tally


def _interrupt(process: Forked) -> list[str]:
    os.killpg(process.pid, signal.SIGINT)
    status, said = process.wait(), process.said().splitlines()
    if status == 0:  # it was about to end
        return []
    news = ("warning: ", "epoch ", "Images: ", "Nothing had been saved ")
    lines = [line for line in said if not line.startswith(news) and " images are done" not in line]
    stopped = [line for line in said if "Go on with: ddeep " in line]
    if status == 130 and (lines == ["Interrupted."] or (stopped and lines in ([], ["Interrupted."]))):
        return []
    return [f"{process.log}: status {status} after Ctrl-C: {said}"]


def _next_out(folder: Path, scenario: Scenario) -> str:
    """The output to go on with, or a new one."""
    there = sorted(path.name for path in folder.glob("out*") if path.is_dir())
    waiting = [name for name in there if scenario.unfinished(folder / name)]
    return waiting[0] if waiting else f"out{len(there)}"


def preload() -> None:
    """Import what the commands need, so that kills fall into their work and not into importing torch."""
    for module in (
        *WORK,
        "ddeep.reports.comparison_figures",
        "ddeep.reports.run_page",
        "sklearn.mixture",
        "torch._dynamo",
    ):
        import_module(module)
    registry()
    torch.set_num_threads(1)  # forks and threads do not go together


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--ctrl-c", type=int, default=0, help="so many besides, SIGINT to all processes")
    arguments.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS])
    given = arguments.parse_args()
    # A shell's background jobs, and all that they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    preload()
    total, problems = 0, list[str]()
    chosen = [scenario for scenario in SCENARIOS if given.only in (None, scenario.name)]
    for number, scenario in enumerate(chosen):
        kills, interrupts = (
            wanted // len(chosen) + (number < wanted % len(chosen)) for wanted in (given.kills, given.ctrl_c)
        )
        if not kills + interrupts:
            continue
        with tempfile.TemporaryDirectory() as name:
            tally = kill_at_random(scenario, Path(name), kills, interrupts, given.seed)
        total, problems = total + tally.kills, problems + tally.problems
        print(
            f"{scenario.name}: {tally.kills} kills, {tally.finished} ended before, {len(tally.problems)} lost anything"
        )
        sys.stdout.flush()
    print(f"{total} kills, {len(problems)} lost anything")
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
