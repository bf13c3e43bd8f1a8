"""One point of ``memory``: ``python -m benchmarks._wide_layer IMAGES CLASSES FILTERS`` prints its peak as JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.evidence.evidence import by_round
from ddeep.evidence.replay import context_at
from ddeep.evidence.store import gather
from ddeep.evidence.subject import Subject
from ddeep.networks.layer import Layer
from ddeep.networks.network import Network
from ddeep.registry.registry import registry
from ddeep.selections.select import choose
from ddeep.statistics.basic import ClassCounts

from .statistics_alone import wanted

SIDE, K = 32, 5


class Peak:
    """The largest anonymous memory of this process while it lives, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.bytes, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.003):
            self.bytes = max(self.bytes, anonymous())


def anonymous() -> int:
    """Bytes of memory that belong to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("Linux alone tells a process's anonymous memory.")


def network(classes: int, filters: int) -> nn.Sequential:
    """A layer of ``filters`` filters that hardly costs anything: 2 × 2 positions."""
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, filters, 16, 16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(filters, classes),
    ]
    return nn.Sequential(*parts).eval()


def images_in(file: Path, count: int, classes: int) -> TensorImages:
    """Noise in a mapped file; class c has every C-th image."""
    block = np.random.default_rng(0).integers(0, 256, (256, SIDE, SIDE, 3), dtype=np.uint8)
    with file.open("wb") as out:
        for start in range(0, count, len(block)):
            out.write(block[: count - start].tobytes())
    pixels = torch.from_numpy(np.memmap(file, np.uint8, "c", shape=(count, SIDE, SIDE, 3)))
    names = tuple(f"class {c}" for c in range(classes))
    return TensorImages(pixels, torch.arange(count) % classes, names, f"{file.name} of noise")


def main(images: int, classes: int, filters: int) -> None:
    specs = registry().strategies.values()
    strategies = [spec for spec in specs if spec.needs is not None and not spec.gradients and not spec.learned]
    statistics = wanted(K)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDEEP_CACHE"] = folder
        train = images_in(Path(folder) / "train", images, classes)
        start, processor = time.perf_counter(), time.process_time()
        with Peak() as peak:
            made = Network(
                name="wide",
                module=network(classes, filters),
                head="4",
                layer=Layer("1"),
                preprocessing=Preprocessing((0.5,) * 3, (0.25,) * 3, SIDE, SIDE),
                classes=train.classes,
                weights="noise",
                weights_hash="noise",
                k=K,
            )
            subject = Subject(made, {"train": train, "test": train}, torch.device("cpu"))
            layer = made.layer
            assert layer is not None
            evidence = gather(subject, "train", {layer: statistics}, [layer])[layer]
            context = context_at(subject, layer, 0)
            for spec in strategies:
                choose(spec, evidence, K, context)
        found = {
            "anonymous": peak.bytes,
            "formula": sum(s.nbytes(classes, filters) for part in by_round([ClassCounts(), *statistics]) for s in part),
            "seconds": time.perf_counter() - start,
            "processor": time.process_time() - processor,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
