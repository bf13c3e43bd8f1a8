"""The evidence pass against the pipeline that people write today: time and memory, each side in a process of its own.

``plain``: torchvision's CIFAR10 with PIL transforms, a DataLoader with 2 workers, a forward hook that keeps whole
feature maps, one argsort at the end. ``ddeep``: the pass of ``ddeep run``, from uint8 pixels to the selection, its
cache empty; in fp32 (exact) and bf16. At the layer that feeds the head, and at the first one, where the pass stops
after that layer. Timed from pixels in memory to filters per class, without starting Python and loading the network;
the memory is that of the whole process, but for the plain pipeline's workers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from ._common import Cost, Report, Settings, alternate, clocked, command

SIDES = {"plain": "fp32", "ddeep fp32": "fp32", "ddeep bf16": "bf16"}


def measure(settings: Settings) -> Report:
    """Times the plain pipeline takes as long, and the share of its memory that ddeep takes."""
    # Few enough that whole maps of the first layer fit: 64 KiB an image. More rounds where the time is the point.
    sizes = {"head": (settings.sized(25_600, 512), settings.sized(3, 1)), "first": (settings.sized(50_000, 512), 1)}
    report = Report({f"images, {place} layer": images for place, (images, _) in sizes.items()})
    selected: dict[str, Any] = {}
    for place, (images, rounds) in sizes.items():
        sides = {f"{side}, {place} layer": partial(_child, side, place, images, settings, selected) for side in SIDES}
        report.costs |= alternate(sides, rounds, warm_up=0)
    for side, goal in (("ddeep fp32", 2.0), ("ddeep bf16", 3.5)):
        ratio = report.ratio("plain, head layer", f"{side}, head layer")
        report.add(f"plain / {side}, time, head's layer", ratio, at_least=goal)
    for side in ("ddeep fp32", "ddeep bf16"):
        report.add(f"plain / {side}, time, first layer", report.ratio("plain, first layer", f"{side}, first layer"))
    for place, goal in (("head", None), ("first", 1 / 3)):
        share = report.gigabytes(f"ddeep fp32, {place} layer") / report.gigabytes(f"plain, {place} layer")
        report.add(f"memory of ddeep fp32 / plain, {place} layer", share, at_most=goal)
        for side in SIDES:
            report.add(f"peak memory of {side}, {place} layer", report.gigabytes(f"{side}, {place} layer"), "GB")
        shared = _shared(selected[f"plain {place}"], selected[f"ddeep fp32 {place}"])
        report.add(f"share of filters selected alike, fp32, {place} layer", shared, at_least=0.98)
    return report


def _child(side: str, place: str, images: int, settings: Settings, selected: dict[str, Any]) -> Cost:
    words = ["-m", "benchmarks.plain_pipeline", side, place, str(images), "--data-dir", str(settings.data_dir)]
    done = command(words)
    found = json.loads(done.output)
    selected[f"{side} {place}"] = found["selected"]
    return Cost(found["seconds"], found["processor"], done.cost.gigabytes)


def _shared(one: list[list[int]], other: list[list[int]]) -> float:
    return sum(len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)) / len(one)


def main() -> int:
    """One side, in this process."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("side", choices=SIDES)
    arguments.add_argument("place", choices=("head", "first"))
    arguments.add_argument("images", type=int)
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    given = arguments.parse_args()
    from ddeep._platform import keep_freed_memory

    from ._pipelines import ours, plain, prepared

    if given.side != "plain":
        keep_freed_memory()  # as the command line does
    job = prepared(Settings(given.data_dir), given.images, given.place, SIDES[given.side])
    selected: list[list[list[int]]] = []
    with tempfile.TemporaryDirectory() as cache:
        work = partial(plain, job) if given.side == "plain" else partial(ours, job, Path(cache) / "empty")
        cost = clocked(lambda: selected.append(work()))()
    print(json.dumps({"seconds": cost.seconds, "processor": cost.processor, "selected": selected[0]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
