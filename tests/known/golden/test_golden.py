"""The embedded default gives what it always gave; and gives it again, in any process, batch and number of threads."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.known.golden.golden import FILE, golden_part, run_default
from tests.support.paths import ROOT

_COUNTED = ("accuracy", "accuracy_present", "per_class", "selection", "absent", "images", "hashes")


def differences(found: Any, expected: Any, tolerance: float, where: str = "") -> list[str]:
    """Where two documents differ: numbers with a fraction by more than ``tolerance`` of the larger, all else at all."""
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [f"{where}: {sorted(found.keys() ^ expected.keys())} on one side only"]
        return [
            line for key in expected for line in differences(found[key], expected[key], tolerance, f"{where}/{key}")
        ]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for at, (one, other) in pairs for line in differences(one, other, tolerance, f"{where}/{at}")]
    if isinstance(found, float) and isinstance(expected, float):
        same = math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    else:
        same = found == expected and type(found) is type(expected)
    return [] if same else [f"{where}: {found!r}, not {expected!r}"]


def counted(document: dict[str, Any]) -> dict[str, Any]:
    """Counts, selections and accuracies."""
    return {key: document[key] for key in _COUNTED}


def in_a_process(tmp_path: Path, threads: int, *options: str) -> dict[str, Any]:
    """The same run by the command line, with a cache of its own."""
    settings = {"OMP_NUM_THREADS": str(threads), "DDEEP_CACHE": str(tmp_path / "cache")}
    words = ["run", "--model", "resnet20", "--strategy", "paper", "--l2", "1e-4", "--device", "cpu", "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "ddeep", *words, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return golden_part(json.loads(done.stdout))


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    return golden_part(run_default())


def test_the_golden_run_is_as_it_was(here: dict[str, Any]) -> None:
    """Exactly what is counted; other figures to 1e-5, for processors round differently."""
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    anew = "If it is meant to change: python -m tests.known.golden.golden, and say in the commit why."
    assert differences(counted(here), counted(expected), 0) == [], anew
    assert differences(here, expected, 1e-5) == [], anew


def test_another_process_finds_the_same(here: dict[str, Any], tmp_path: Path) -> None:
    found = in_a_process(tmp_path, 1)
    assert differences(counted(found), counted(here), 0) == []
    assert differences(found["metrics"], here["metrics"], 1e-5) == []
    again = in_a_process(tmp_path / "again", 1)
    assert differences(again, found, 1e-9) == []


@pytest.mark.parametrize(("threads", "batch"), [(2, 256), (1, 50)])
def test_threads_and_batches_stay_within_the_documented_tolerance(
    here: dict[str, Any], tmp_path: Path, threads: int, batch: int
) -> None:
    found = in_a_process(tmp_path, threads, "--batch-size", str(batch))
    assert differences(counted(found), counted(here), 0) == []
    assert differences(found["metrics"], here["metrics"], 1e-5) == []


def test_bf16_stays_within_the_documented_tolerance(here: dict[str, Any], tmp_path: Path) -> None:
    found = in_a_process(tmp_path, 1, "--precision", "bf16")
    for stage, percent in here["accuracy"].items():
        assert abs(found["accuracy"][stage] - percent) <= 0.5, stage
    shared = [len(set(found["selection"][c]) & set(here["selection"][c])) for c in here["selection"]]
    assert sum(shared) >= 0.9 * sum(map(len, here["selection"].values()))


def test_a_difference_would_be_seen() -> None:
    assert differences({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-4]}, 1e-5) == ["/a/1: 2.0, not 2.0001"]
    assert differences({"a": 1}, {"a": 2}, 1e-5) == ["/a: 1, not 2"]
    assert differences({"a": 1}, {"b": 1}, 1) == [": ['a', 'b'] on one side only"]
