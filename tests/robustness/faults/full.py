"""A disk that is full after so many bytes, for every command that writes. Prints how many, and what is wrong.

unshare --map-root-user --mount python -m tests.robustness.faults.full --sizes 10

The disk is a small one in memory, which holds the cache and the outputs; its sizes are spread from nothing to what a
whole command takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddeep.files.cache import size_of
from tests.robustness.faults.harness import Place, leftovers, preload
from tests.robustness.faults.scenarios import SCENARIOS, Scenario, alike

_PAGE = 4096
_NEWS = ("warning: ", "epoch ", "Images: ")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """``folder`` on a disk of ``size`` bytes, to a page."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(_PAGE, size)}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_up(scenario: Scenario, folder: Path, sizes: int) -> tuple[int, list[str]]:
    """Run the command on ``sizes`` disks that are too small; how many it found full, and what was wrong."""
    data = folder / "images"
    scenario.make_images(data)
    reference = Place(folder / "reference", data)
    process = reference.start(scenario, "out")
    assert process.wait() == 0, process.said()
    found, problems = 0, list[str]()
    if not (reference.folder / "out").exists():  # it only reads, or clears
        return found, problems
    expected, whole = scenario.result(reference.folder / "out"), size_of(reference.folder)
    for number in range(sizes):
        place = Place(folder / f"place-{number}", data)
        with small_disk(place.folder, whole * number // sizes):
            process = place.start(scenario, "out", log=f"../log-{number}")
            status, said = process.wait(), process.said()
            lines = [line for line in said.splitlines() if not line.startswith(_NEWS)]
            found += status == 1
            if status == 1 and not (len(lines) == 1 and lines[0].startswith("error: Cannot write")):
                problems.append(f"{number} of {sizes}: {said}")
            elif status == 0 and "Cannot write" in said:
                continue  # a report does without what does not fit into the cache, and says so
            elif status == 0 and not alike(scenario.result(place.folder / "out"), expected):
                problems.append(f"{number} of {sizes}: another result")
            elif status not in (0, 1):
                problems.append(f"{number} of {sizes}: status {status}: {said}")
            problems += place.lost(scenario, expected) + leftovers(place.folder)
    return found, problems


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, default=10)
    arguments.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS])
    given = arguments.parse_args()
    preload()
    total, problems = 0, list[str]()
    for scenario in SCENARIOS:
        if given.only not in (None, scenario.name):
            continue
        with tempfile.TemporaryDirectory() as name:
            found, wrong = fill_up(scenario, Path(name), given.sizes)
        total, problems = total + found, problems + [f"{scenario.name}: {one}" for one in wrong]
        print(f"{scenario.name}: {found} full disks, {len(wrong)} problems", flush=True)
    print(f"{total} full disks, {len(problems)} problems")
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
