"""Commands to be killed, starved and run side by side, and what must hold of what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ddeep.results.run import load
from ddeep.selections.selection import Selection
from tests.robustness.faults.harness import lost_in_cache

RUN = ("run", "--model", "resnet20", "--strategy", "paper", "--device", "cpu", "--no-refit")


@dataclass
class Place:
    """A cache and a folder of outputs of their own."""

    folder: Path
    images: Path | None = None  # a data folder, for --dataset folder
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def command(self, out: str) -> list[str]:
        data = [] if self.images is None else ["--dataset", "folder", "--data-dir", str(self.images)]
        weights = [] if self.images is None else ["--weights", "resnet20-digits"]
        return [sys.executable, "-m", "ddeep", *RUN, *data, *weights, "--out", out]

    def start(self, out: str, **settings: object) -> subprocess.Popen[str]:
        """Start ``ddeep run --out OUT`` in a session of its own, so that its workers can be killed with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            self.command(out),
            cwd=self.folder,
            env={**os.environ, "DDEEP_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            **settings,  # type: ignore[call-overload]
        )

    def run(self, out: str, **settings: object) -> tuple[int, str]:
        """Run it to its end; its status and what it said on stderr."""
        process = self.start(out, **settings)
        _, said = process.communicate(timeout=600)
        return process.returncode, said


def selection_of(run: Path) -> tuple[tuple[int, ...], ...]:
    return Selection.load(run / "selection.json").filters


def lost(place: Place, expected: tuple[tuple[int, ...], ...]) -> list[str]:
    """What is wrong in ``place``: half files under final names, runs that do not load or hold something else."""
    problems: list[str] = []
    for run in sorted(path for path in place.folder.glob("out*") if path.is_dir()):
        try:
            document = json.loads((run / "run.json").read_text())
            found = selection_of(run)
            load(run)
            if found != expected or list(map(tuple, document["selection"].values())) != list(expected):
                problems.append(f"{run}: another selection")
        except Exception as error:
            problems.append(f"{run}: {type(error).__name__}: {error}")
    return problems + lost_in_cache(place.cache)
