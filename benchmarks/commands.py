"""Whole commands: what comparing costs against a single run, and ten layers against one. Each in a process of its own.

``cold``: all strategies that need neither gradients nor learning, five k, no refits, against ``ddeep run --no-refit``,
both with an empty response cache (the images are converted already). ``layers``: ``ddeep measure`` of the ten block
outputs against the last alone, cold as well. ``warm``: the comparison with the learned strategies and with refits, from
the cache. Strategies are ddeep's own, whatever else is installed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ddeep.files.paths import cache_root
from ddeep.registry.registry import registry

from ._common import Cost, Report, Settings, alternate, command, converted_only

KS = "2,3,5,10,20"
BLOCKS, LAST = ("relu", "layer?.?"), "layer3.2"  # of ResNet20


def measure(settings: Settings) -> Report:
    """Ratios of whole commands, and peak memory."""
    data = "digits" if settings.quick else "cifar10"
    common = ["--model", "resnet20", "--dataset", data, "--data-dir", str(settings.data_dir)]
    strategies = registry().strategies
    own = {name: spec for name, spec in strategies.items() if strategies.provider(name).startswith("ddeep:")}
    forward = [name for name, spec in own.items() if not spec.gradients]
    closed = [name for name in forward if not own[name].learned]
    layers = [word for name in BLOCKS for word in ("--layers", name)]
    cold = {
        "run": ["run", *common, "--strategy", "paper", "--no-refit"],
        "compare": ["compare", *common, "--strategies", *closed, "--k", KS, "--no-refit"],
        "layer": ["measure", *common, "--layers", LAST],
        "layers": ["measure", *common, *layers],
    }
    warm = ["compare", *common, "--strategies", *forward, "--k", KS]
    report = Report({"dataset": data, "strategies": closed, "warm": forward, "k": KS})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # The first run converts the images, in the user's own cache, and is not timed.
        command(["-m", "ddeep", "run", *common, "--strategy", "paper", "--no-refit", "--out", str(place / "first")])
        sides = {name: _cold(words, place, name) for name, words in cold.items()}
        report.costs = alternate(sides, settings.sized(2, 1), warm_up=0)
        report.costs |= alternate({"warm": partial(_run, warm, place, place / "compare")}, 1, warm_up=0)
    report.add("compare / run, no refits, cold", report.ratio("compare", "run"), at_most=1.5)
    report.add("measure of ten layers / one, cold", report.ratio("layers", "layer"), at_most=1.15)
    report.add("peak memory of measure, ten layers", report.gigabytes("layers"), "GB", at_most=1.5)
    report.add("compare, learned and refits too, from the cache", report.seconds("warm"), "s", at_most=60)
    for name in cold:
        report.add(f"{name}, cold", report.seconds(name), "s")
    return report


def _cold(words: Sequence[str], place: Path, name: str) -> Callable[[], Cost]:
    """A side that starts from converted images and nothing else; its cache stays until the next round."""

    def run() -> Cost:
        shutil.rmtree(place / name, ignore_errors=True)
        return _run(words, place, converted_only(cache_root(), place / name))

    return run


def _run(words: Sequence[str], place: Path, cache: Path) -> Cost:
    """``ddeep`` with its responses in ``cache``, and results of its own."""
    with tempfile.TemporaryDirectory(dir=place) as out:
        return command(["-m", "ddeep", *words, "--out", str(Path(out) / "out")], DDEEP_CACHE=str(cache)).cost
