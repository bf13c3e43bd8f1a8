"""The tables and the figure of docs/strategies.md, from five networks.

    python -m studies.strategies_page --data-dir data --out runs/strategies

For every network and strategy the outcome on each test image is kept (which images the decomposed, the learned and the
refitted head get right), in one file each under ``--out``: a study that was interrupted goes on, and after a strategy
has changed only its own outcomes are found anew, from responses that ddeep's cache holds. ``--again NAME`` does so for
a strategy whose change lies outside of its own modules. At the end docs/strategies.md is written from
studies/strategies_page.md, whose ``table`` comments say what goes where, and docs/strategies.png is drawn; ``--page``
names another file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence
from ddeep.evidence.replay import context_at
from ddeep.evidence.store import gather
from ddeep.experiments._compare_layer import Candidate, Skipped, find_candidates, select_all
from ddeep.experiments.opening import open_subject
from ddeep.experiments.settings import SubjectConfig
from ddeep.files.atomic import written_whole
from ddeep.heads.accuracy import predict
from ddeep.heads.penalty import fit
from ddeep.networks.head import Head
from ddeep.registry.registry import registry
from ddeep.registry.specs import StrategySpec, resolve
from studies.paths import ROOT
from studies.strategies_tables import STAGES, Results, draw, fill

SUBJECTS: dict[str, dict[str, Any]] = {
    "ResNet20, the paper's": {"model": "resnet20", "dataset": "cifar10", "weights": "resnet20-12fca82f"},
    "ResNet20, ddeep's": {"model": "resnet20", "dataset": "cifar10", "weights": "resnet20-cifar10"},
    "ResNet32": {"model": "resnet32", "dataset": "cifar10"},
    "ResNet44": {"model": "resnet44", "dataset": "cifar10"},
    "202 classes": {"responses": "responses/lite0-tiny202.safetensors"},
}
KS = (2, 3, 5, 10, 20)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments.add_argument("--out", type=Path, default=Path("runs/strategies"))
    arguments.add_argument("--page", type=Path, default=ROOT / "docs" / "strategies.md")
    arguments.add_argument("--strategies", nargs="*", help="find these alone; the tables hold all that are there")
    arguments.add_argument("--subjects", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS))
    arguments.add_argument("--again", nargs="*", default=[], help="strategies to find anew in any case")
    given = arguments.parse_args()
    for name in given.subjects:
        study(name, given)
    results = read(given.out)
    template = (ROOT / "studies" / "strategies_page.md").read_text(encoding="utf-8")
    given.page.write_text(fill(template, results), encoding="utf-8")
    draw(results, given.page.with_suffix(".png"))
    return 0


@dataclass
class Bench:
    """A network's evidence, and the outcomes of its refits by mask: strategies often agree."""

    train: Evidence
    test: Evidence
    context: Context
    head: Head
    folder: Path

    def right(self, head: Head) -> Bool[Tensor, " n"]:
        """Which test images a head gets right."""
        responses, labels = self.test.cached_responses()
        return predict(responses, *head) == labels

    def refits(self, masks: Sequence[Bool[Tensor, "c k"]]) -> list[NDArray[np.bool_]]:
        """The outcomes of the refits, their penalties chosen as every command chooses them."""
        paths = [self.folder / "refits" / f"{_digest(mask.numpy().tobytes())}.npy" for mask in masks]
        new = {path: mask for path, mask in zip(paths, masks, strict=True) if not path.exists()}
        if new:
            fitted = fit(*self.train.cached_responses(), self.head, torch.stack(list(new.values())))
            for path, (head, _) in zip(new, fitted, strict=True):
                with written_whole(path) as temporary, temporary.open("wb") as file:
                    np.save(file, self.right(head).numpy())
        return [np.load(path) for path in paths]


def study(name: str, given: argparse.Namespace) -> None:
    """Find what is not there of one network's outcomes."""
    settings = dict(SUBJECTS[name])
    if "responses" in settings:
        settings["responses"] = given.data_dir / settings["responses"]
    specs = [registry().find("strategy", one) for one in given.strategies or registry().strategies]
    subject = open_subject(SubjectConfig(**settings, data_dir=given.data_dir))
    (layer,) = subject.layers()
    context = context_at(subject, layer, seed=0)
    folder = given.out / _slug(name)
    waiting = [spec for spec in specs if spec.name in given.again or not _path(folder, spec).exists()]
    if not waiting:
        return
    candidates, needs = find_candidates(waiting, KS, subject.filters(layer), context, Skipped(tolerant=True))
    found = {
        split: gather(subject, split, {layer: needs if split == "train" else []}, keep=[layer])[layer]
        for split in ("train", "test")
    }
    bench = Bench(found["train"], found["test"], context, context.needed_head(), folder)
    full = bench.right(bench.head).numpy()
    for candidate in candidates:
        start = time.perf_counter()
        outcomes, about = _outcomes(candidate, bench)
        about |= {"subject": name, "strategy": candidate.spec.name, "hashes": subject.hashes}
        for old in folder.glob(f"{candidate.spec.name}.*.npz"):
            old.unlink()
        with written_whole(_path(folder, candidate.spec)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, full=full, about=json.dumps(about), **outcomes)
        print(f"{name}: {candidate.spec.name} {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def _outcomes(candidate: Candidate, bench: Bench) -> tuple[dict[str, NDArray[np.bool_]], dict[str, Any]]:
    """By stage and k, which test images are right; and the seconds that selecting took."""
    skipped = Skipped(tolerant=True)
    cells = select_all([candidate], bench.train, bench.context, skipped)
    masks = [cell.selection.mask() for cell in cells]
    outcomes = {}
    for cell, mask, refit in zip(cells, masks, bench.refits(masks), strict=True):
        outcomes[f"decomposed-{cell.k}"] = bench.right(Head(bench.head.weight * mask, bench.head.bias)).numpy()
        outcomes[f"refit-{cell.k}"] = refit
        if cell.selection.head is not None:
            outcomes[f"learned-{cell.k}"] = bench.right(cell.selection.learned_head(bench.head)).numpy()
    return outcomes, {"seconds": sum(cell.seconds for cell in cells), "skipped": skipped.rows()}


def read(out: Path) -> Results:
    """All outcomes that are there: ``right[subject, stage, k][strategy]``, and each network's own."""
    right: dict[tuple[str, str, int], dict[str, NDArray[np.bool_]]] = {}
    full: dict[str, NDArray[np.bool_]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for path in sorted(out.glob("*/*.npz")):
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            subject, strategy = about["subject"], about["strategy"]
            full[subject], seconds[subject, strategy] = kept["full"], about["seconds"]
            for stage in STAGES:
                for k in KS:
                    if f"{stage}-{k}" in kept:
                        right.setdefault((subject, stage, k), {})[strategy] = kept[f"{stage}-{k}"]
    return Results([name for name in SUBJECTS if name in full], KS, right, full, seconds)


def _path(folder: Path, spec: StrategySpec) -> Path:
    """A strategy's outcomes, by what its code is."""
    return folder / f"{spec.name}.{_digest(*(path.read_bytes() for path in sorted(_files(spec))))}.npz"


def _files(spec: StrategySpec) -> set[Path]:
    """Its module, and those of its package that this one uses, one after the other."""
    waiting, found = [resolve(spec.select or spec.select_all or "").__module__], set()
    package = waiting[0].rpartition(".")[0]
    while waiting:
        module = sys.modules[waiting.pop()]
        if module.__file__ is None or Path(module.__file__) in found:
            continue
        found.add(Path(module.__file__))
        waiting += [name for name in _used(vars(module).values()) if name.rpartition(".")[0] == package]
    return found


def _used(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        name = getattr(value, "__module__", None) or getattr(value, "__name__", None)
        if isinstance(name, str) and name in sys.modules:
            yield name


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _slug(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
