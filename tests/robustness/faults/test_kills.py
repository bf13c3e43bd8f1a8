"""Commands killed at random moments, and stopped by Ctrl-C. The long form is ``make faults``."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.robustness.faults.scenarios import SCENARIOS
from tests.support.paths import ROOT


def test_kills_at_random_moments_lose_nothing() -> None:
    """One of every command at the least, and Ctrl-C for nine of them.

    In a process of its own: it forks, which does not go well with the threads that other tests have started.
    """
    kills, interrupts = len(SCENARIOS), 9
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.faults.harness", f"--kills={kills}", f"--ctrl-c={interrupts}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{kills + interrupts} kills, 0 lost anything"
