"""Feed every reader of untrusted files damaged ones. Prints how many were tried, and how many crashed a reader.

python -m tests.robustness.fuzz.harness --inputs 100000

A crash is anything but success or a DdeepError, a reader that dies, and one that takes longer than ten seconds. What
crashed a reader is kept in ``crashes/``; move it to ``tests/robustness/fuzz/cases/<reader>/`` once it is fixed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from ddeep import console
from ddeep.errors import DdeepError
from tests.robustness.fuzz.targets import Target, targets

SECONDS = 10.0
MEMORY = 4 * 2**30  # that a reader may take beyond what is there when it starts


def read(target: Target, content: bytes, folder: Path) -> None:
    """Let the reader read ``content``; raises what it raises but DdeepError, and AssertionError where it is slow."""
    path = folder / target.file
    path.write_bytes(content)
    started = time.monotonic()
    with warnings.catch_warnings(action="ignore"):
        said = ""
        try:
            target.read(path)
        except DdeepError as error:
            said = str(error)
    taken = time.monotonic() - started
    assert len(said) < 3000, f"a message of {len(said)} characters"
    assert taken < SECONDS, f"it took {taken:.0f} seconds"


def slug(target: Target) -> str:
    """The target's name as a folder's."""
    return "".join(letter if letter.isalnum() else "-" for letter in target.name)


def fuzz(target: Target, inputs: int, start: int, crashes: Path) -> dict[str, object]:
    """Try so many inputs; ``tried``, and ``crashed`` with what it was. The first crash ends the reader's turn."""
    tried = 0
    console.warn = lambda *_: None  # type: ignore[assignment] - of cache entries, thousands of times
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        @seed(start)
        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(target.inputs())
        def attempt(content: bytes) -> None:
            nonlocal tried
            tried += 1
            kept = crashes / f"{slug(target)}.last"
            kept.write_bytes(content)  # where it kills the process
            read(target, content, folder)

        try:
            attempt()
        except Exception as error:
            return {"tried": tried, "crashed": f"{type(error).__name__}: {str(error)[:300]}"}
    (crashes / f"{slug(target)}.last").unlink(missing_ok=True)
    return {"tried": tried, "crashed": None}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--inputs", type=int, default=100_000, help="in all")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--crashes", type=Path, default=Path("crashes"))
    arguments.add_argument("--only", help="one reader, in this process")
    given_ = arguments.parse_args()
    given_.crashes.mkdir(exist_ok=True)
    known = targets()
    if given_.only:
        faulthandler.enable()
        (target,) = [one for one in known if one.name == given_.only]
        print(json.dumps(fuzz(target, given_.inputs, given_.seed, given_.crashes)))
        return 0
    total, crashed = 0, 0
    share = -(-given_.inputs // len(known))
    for target in known:
        words = ["--only", target.name, "--inputs", str(share), "--seed", str(given_.seed)]
        command = [sys.executable, "-m", "tests.robustness.fuzz.harness", *words, "--crashes", str(given_.crashes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        found = json.loads(lines[-1]) if lines and done.returncode == 0 else None
        found = found or {"tried": 0, "crashed": f"the process died ({done.returncode}): {done.stderr[-2000:]}"}
        total, crashed = total + found["tried"], crashed + (found["crashed"] is not None)
        print(f"{target.name}: {found['tried']:,} inputs, {found['crashed'] or 'no crash'}", flush=True)
    print(f"{total:,} inputs, {crashed} readers crashed")
    return int(bool(crashed))


if __name__ == "__main__":
    sys.exit(main())
