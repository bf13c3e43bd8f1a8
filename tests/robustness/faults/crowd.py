"""Several commands at once on one cache and one output folder. Prints how many outputs there are and what is wrong.

python -m tests.robustness.faults.crowd 8 FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.robustness.faults.harness import Place, leftovers, lost_in_cache, preload
from tests.robustness.faults.scenarios import SCENARIOS


def crowd(count: int, folder: Path) -> tuple[int, list[str]]:
    """Start ``count`` commands that write ``out``; the number of outputs, and what is wrong."""
    scenario = next(one for one in SCENARIOS if one.name == "run on files")
    data = folder / "images"
    scenario.make_images(data)
    place = Place(folder / "place", data)
    running = [place.start(scenario, "out", log=f"log-{number}") for number in range(count)]
    problems = [f"status {process.status}: {process.said()}" for process in running if process.wait() != 0]
    outputs = sorted(path for path in place.folder.glob("out*") if path.is_dir())
    found = [scenario.result(out) for out in outputs]
    problems += [f"{out}: another result" for out, one in zip(outputs, found, strict=True) if one != found[0]]
    return len(outputs), problems + lost_in_cache(place.cache) + leftovers(place.folder)


def main() -> int:
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    preload()
    outputs, problems = crowd(count, folder)
    for problem in problems:
        print(problem)
    print(f"{count} commands at once: {outputs} outputs, {len(problems)} problems")
    return int(bool(problems) or outputs != count)


if __name__ == "__main__":
    sys.exit(main())
