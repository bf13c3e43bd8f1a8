"""Commands killed at random moments, and stopped by Ctrl-C. The long form is ``make faults``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.robustness.faults.scenarios import SCENARIOS
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "how", [["--kills", str(len(SCENARIOS))], ["--kills", "9", "--ctrl-c"]], ids=["SIGKILL", "Ctrl-C"]
)
def test_kills_at_random_moments_lose_nothing(how: list[str]) -> None:
    """One of every command at the least.

    In a process of its own: it forks, which does not go well with the threads that other tests have started.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.faults.harness", *how],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{how[1]} kills, 0 lost anything"
