"""Whole commands at a thousand classes, on made responses: a run, its report, and a comparison with refits and null.

The comparison is of all of ddeep's own strategies that are closed formulas of responses, at five k. Each command in a
process of its own; only the first reads the responses, the others find their statistics in the cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from ddeep.registry.registry import registry

from ._common import Report, Settings, command
from .joint_selection import planted

SIZES = (1000, 2048, 100_000, 10_000)  # classes, filters, train and test images
KS = "2,3,5,10,20"
OF_THE_NETWORK = ("filter-norm", "peak")  # responses alone do not say what these need


def measure(settings: Settings) -> Report:
    """Seconds and peak memory of the three commands."""
    sizes = tuple(settings.sized(size, small) for size, small in zip(SIZES, (8, 64, 600, 200), strict=True))
    own = {
        name: spec
        for name, spec in registry().strategies.items()
        if registry().strategies.provider(name).startswith("ddeep:") and name not in OF_THE_NETWORK
    }
    closed = [name for name, spec in own.items() if not spec.gradients and not spec.learned]
    closed = closed[: settings.sized(len(closed), 3)]
    ks = settings.sized(5, 2)
    report = Report({"sizes": sizes, "strategies": closed, "k": KS.split(",")[:ks]})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        save_made(place / "made.safetensors", *sizes)
        given = ["--responses", str(place / "made.safetensors")]
        commands = {
            "run": ["run", *given, "--strategy", "contribution", "--k", "5", "--out", str(place / "run")],
            "report": ["report", str(place / "run")],
            "compare": ["compare", *given, "--strategies", ",".join(closed), "--k", ",".join(KS.split(",")[:ks])],
        }
        commands["compare"] += ["--out", str(place / "compared")]
        for name, words in commands.items():
            report.costs[name] = [command(["-m", "ddeep", *words], DDEEP_CACHE=str(place / "cache")).cost]
    report.add("run", report.seconds("run"), "s", at_most=600)
    report.add("run, memory", report.gigabytes("run"), "GB", at_most=4)
    report.add("its report", report.seconds("report"), "s")
    report.add("its report, memory", report.gigabytes("report"), "GB", at_most=4)
    report.add("compare", report.seconds("compare"), "s", at_most=1800)
    report.add("compare, memory", report.gigabytes("compare"), "GB", at_most=6)
    return report


def save_made(file: Path, classes: int, filters: int, train: int, test: int) -> None:
    """Responses of a planted head as ``--responses`` reads them, none negative, and a noisy head beside them."""
    responses, labels, chosen = planted(classes, filters, train + test)
    weight = torch.zeros(classes, filters).scatter(1, chosen, 1.0)
    weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    parts = {"train": slice(0, train), "test": slice(train, None)}
    tables = {"weight": weight, "bias": torch.zeros(classes)}
    for split, rows in parts.items():
        tables[f"{split}_responses"] = responses[rows].clamp(min=0)
        tables[f"{split}_labels"] = labels[rows].clone()
    save_file(tables, file)
