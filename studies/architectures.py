"""Look at every classifier of timm and torchvision, and write docs/architectures.md and .csv.

    python studies/architectures.py walk --records records.jsonl      # resumable; an hour of one core
    python studies/architectures.py write --records records.jsonl     # also of an unfinished walk: the page says so

Each architecture is built with random weights and ten classes, run once on two images of noise, and examined as ddeep
examines any network. Up to 40 million parameters the head's input is compared with the pooled layer by value; beyond
that nothing is computed (meta tensors), the parts are those of a smaller architecture of the same family, and only
their shapes are compared. No architecture gets more than 4 GB and two minutes of a processor: one that wants more is
recorded as a failure, and why.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import logging
import resource
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import ddeep  # noqa: F401 - first: it repairs torchvision's import

# isort: split
import timm
import torch
import torchvision
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import nn

from ddeep.networks.anatomy import Anatomy, LayerRow, describe_layers, find_anatomy
from ddeep.networks.trace import example_images
from ddeep.networks.trace import record as record_pass
from ddeep_plugins_builtin.models import timm_models, torchvision_models
from ddeep_plugins_builtin.models.one_head import JoinedHeads

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10
LARGEST = 40_000_000
SMALL = 64  # the side tried first where the network takes any: four positions left after a stride of 32
BYTES, SECONDS = 4 << 30, 120  # for one architecture


@dataclass(frozen=True)
class Record:
    """What one architecture showed. ``checked`` is "values" or "shapes"; ``inner`` of ``modules`` can be layers."""

    name: str
    family: str
    parameters: int = 0
    size: int = 0
    checked: str = ""
    head: str = ""
    layer: str = ""
    pool: str = ""
    filters: int = 0
    inner: int = 0
    modules: int = 0
    unreadable: str = ""
    problem: str = ""
    rewritten: bool = False

    @property
    def examined(self) -> bool:
        return bool(self.checked or self.problem)

    @property
    def works(self) -> bool:
        return bool(self.head and self.layer)


def all_names() -> list[str]:
    return [f"timm/{n}" for n in timm_models.names()] + [f"torchvision/{n}" for n in torchvision_models.names()]


def family_of(name: str) -> str:
    """The library's file that defines the architecture."""
    library, _, member = name.partition("/")
    if library == "timm":
        return f"timm/{model_entrypoint(member).__module__.rpartition('.')[2]}"
    return f"torchvision/{torchvision.models.get_model_builder(member).__module__.rpartition('.')[2]}"


def build(name: str) -> nn.Module:
    library, _, member = name.partition("/")
    return {"timm": timm_models, "torchvision": torchvision_models}[library].build(member, CLASSES).eval()


def sizes(name: str) -> list[int]:
    """The sides to try, in order."""
    library, _, member = name.partition("/")
    if library == "torchvision":
        return [SMALL, torchvision.models.get_model_weights(member).DEFAULT.transforms().crop_size[0]]
    config = get_pretrained_cfg(member)
    own = config.input_size[-1] if config else 224
    return [own] if config and config.fixed_input_size else [SMALL, own]


@contextmanager
def time_limit() -> Iterator[None]:
    """TimeoutError once the block has taken ``SECONDS`` of processor time."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {SECONDS} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def make_generic(module: nn.Module) -> None:
    """Noise where initialisation left zeros or ones, so that no two layers agree by being idle."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim <= 1 or not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))


def examine(name: str, largest: float = LARGEST) -> Record:
    """Examine by value, or beyond ``largest`` parameters only count them (``checked`` stays empty)."""
    family = family_of(name)
    try:
        with time_limit(), torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in build(name).parameters())
    except Exception:  # cannot be built on the meta device
        parameters = 0
    if parameters > largest:
        return Record(name, family, parameters)
    try:
        with time_limit():
            module = build(name)
            make_generic(module)
            size, rows, found = first_that_runs(module, sizes(name))
    except Exception as error:
        return Record(name, family, parameters, problem=f"{type(error).__name__}: {error}".splitlines()[0][:200])
    filters = module.get_submodule(found.head).in_features if found.head and found.layer else 0
    return Record(
        name,
        family,
        sum(parameter.numel() for parameter in module.parameters()),
        size,
        "values",
        found.head or "",
        found.layer.name if found.layer else "",
        found.layer.pool if found.layer else "",
        filters or 0,
        *inner_layers(rows),
        found.problem,
        rewritten(module),
    )


def rewritten(module: nn.Module) -> bool:
    """Whether the family's build changed the library's network so that it has one linear head."""
    heads = (child for child in module.modules() if isinstance(child, nn.Sequential) and len(child) == 2)
    linear = any(isinstance(head[0], nn.Flatten) and isinstance(head[1], nn.Linear) for head in heads)
    return linear or isinstance(module, JoinedHeads)


def first_that_runs(module: nn.Module, candidates: Sequence[int]) -> tuple[int, list[LayerRow], Anatomy]:
    for size in candidates[:-1]:
        try:
            return size, *look(module, size)
        except TimeoutError:
            raise
        except Exception:  # too small for it, in whatever way
            continue
    return candidates[-1], *look(module, candidates[-1])


def look(module: nn.Module, size: int) -> tuple[list[LayerRow], Anatomy]:
    recording = record_pass(module, example_images(module, size))
    return describe_layers(recording), find_anatomy(recording)


def inner_layers(rows: Sequence[LayerRow]) -> tuple[int, int, str]:
    why = Counter(_kind(row.problem) for row in rows if row.problem)
    return len(rows) - sum(why.values()), len(rows), "; ".join(f"{count} {kind}" for kind, count in sorted(why.items()))


def _kind(problem: str) -> str:
    if "rows for" in problem:
        return "with other rows than images"
    if "axes" in problem:
        return "of one or more than four axes"
    return "returning no single tensor"


def examine_shapes(record_: Record, siblings: Sequence[Record]) -> Record:
    """Compare shapes alone, with the parts found by value in architectures of the same family."""
    try:
        size = sizes(record_.name)[-1]
        with time_limit():
            with torch.device("meta"):
                module = build(record_.name)
            example = torch.empty(2, 3, size, size, device="meta")
            logits, rows = module(example), describe_layers(record_pass(module, example))
    except Exception as error:
        return Record(**{**asdict(record_), "problem": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
    shapes = {row.name: row for row in rows}
    modules = dict(module.named_modules())
    seen = Counter((s.head, s.layer, s.pool) for s in siblings if s.works and s.checked == "values")
    facts: dict[str, Any] = {"size": size, "checked": "shapes", "rewritten": rewritten(module)}
    facts |= dict(zip(("inner", "modules", "unreadable"), inner_layers(rows), strict=True))
    for (head, layer, pool), _ in seen.most_common():
        linear = modules.get(head)
        if not isinstance(linear, nn.Linear) or shapes[head].shape != tuple(logits.shape):
            continue
        if layer == f"{head}:input" or (layer in shapes and shapes[layer].filters == linear.in_features):
            parts = {"head": head, "layer": layer, "pool": pool, "filters": linear.in_features}
            return Record(**{**asdict(record_), **facts, **parts})
    problem = _problem_of_siblings(siblings) or "head and layer of no smaller architecture of its family fit it"
    return Record(**{**asdict(record_), **facts, "problem": problem})


def _problem_of_siblings(siblings: Sequence[Record]) -> str:
    problems = Counter(s.problem for s in siblings if s.checked == "values" and s.problem)
    return f"as its smaller siblings: {problems.most_common(1)[0][0]}" if problems else ""


def in_turn(names: Iterable[str]) -> list[str]:
    """One of each family, then a second of each, and so on: an unfinished walk has seen something of all."""
    seen: Counter[str] = Counter()
    turns = []
    for name in names:
        family = family_of(name)
        turns.append((seen[family], name))
        seen[family] += 1
    return [name for _, name in sorted(turns)]


def read(path: Path) -> dict[str, Record]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return {entry["name"]: Record(**entry) for entry in map(json.loads, lines)}


def smallest_of_large_families(done: dict[str, Record], members: Counter[str]) -> set[str]:
    """Of each family that is counted whole and has no member small enough: its smallest, for the others to go by."""
    families: dict[str, list[Record]] = {}
    for entry in done.values():
        families.setdefault(entry.family, []).append(entry)
    return {
        min(mine, key=lambda entry: (entry.parameters, entry.name)).name
        for family, mine in families.items()
        if len(mine) == members[family] and not any(entry.examined for entry in mine)
    }


def walk(path: Path, limit: float) -> None:
    """Examine what the records lack, for at most ``limit`` seconds."""
    start = time.monotonic()
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    done, members = read(path), Counter(map(family_of, all_names()))
    with path.open("a") as file:

        def put(entry: Record) -> None:
            done[entry.name] = entry
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            gc.collect()

        def put_shapes(name: str, *, last: bool) -> None:
            siblings = [other for other in done.values() if other.family == done[name].family]
            if not last and not any(other.works and other.checked == "values" for other in siblings):
                return
            found = examine_shapes(done[name], siblings)
            if found.works or last:  # a sibling yet to be examined may show its parts
                put(found)

        for last in (False, True):
            for name in in_turn(all_names()):
                if time.monotonic() - start > limit:
                    return
                if name not in done:
                    put(examine(name))
                if name in smallest_of_large_families(done, members):
                    put(examine(name, float("inf")))
                if not done[name].examined:
                    put_shapes(name, last=last)
    print("done")


HEADER = """# Architectures

Made by `python studies/architectures.py`; do not edit. timm {timm}, torchvision {torchvision}, torch {torch}.

timm has {timm_names:,} classifiers (`timm/<name>`, one for each entry point), torchvision {torchvision_names}
(`torchvision/<name>`). {examined}

Each was built with random weights and {classes} classes and examined as ddeep examines any network: one forward pass
of two images finds the final linear layer (the head), the submodule whose pooled output is the head's input, and what
every other one returns. An architecture may take {gigabytes} GB and {seconds} seconds of one processor.

*by value*: the pooled output was compared with the head's input, to 1e-4 of its largest element ({values:,}
architectures: those of up to {largest} million parameters, and where a family has none, its smallest). *by shape*:
nothing was computed; head and layer are those of a smaller architecture of the same family, and the shapes fit
({shapes:,} larger ones). Published weights were not loaded; the names do not depend on them.

| | examined | work at the head | inner layers readable |
|---|---:|---:|---:|
{totals}

*Work at the head*: `ddeep run` finds head and layer by itself; selection, decomposed head, refit and every figure are
there. *Inner layers readable*: of all submodules that a pass calls, the share whose output is one tensor with one row
for each image, of two to four axes, so that `--layer` takes them.

[architectures.csv](architectures.csv) has a line for each: head, layer, pooling, number of filters, readable
submodules.

## What does not work at the head, and why

{failing}

Elsewhere they work like any other: `--layer` chooses an inner layer, and selections and metrics are computed there.

## What is rewritten

{rewritten}

## By family

A family is the library's file that defines the architecture. The layer is the most frequent one.

| family | examined | at the head | head | layer | pooling | inner layers |
|---|---:|---:|---|---|---|---:|
{families}
"""


def write(path: Path, folder: Path) -> None:
    """Write architectures.md and architectures.csv from the records."""
    every = all_names()
    known = read(path)
    records = [known[name] for name in sorted(every) if name in known and known[name].examined]
    with (folder / "architectures.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        names = [field.name for field in fields(Record)]
        table.writerow(names)
        table.writerows([getattr(entry, name) for name in names] for entry in records)
    checked = Counter(entry.checked for entry in records)
    text = HEADER.format(
        timm=timm.__version__,
        torchvision=torchvision.__version__.partition("+")[0],
        torch=torch.__version__.partition("+")[0],
        timm_names=len(timm_models.names()),
        torchvision_names=len(torchvision_models.names()),
        examined=_examined(records, every),
        gigabytes=BYTES >> 30,
        seconds=SECONDS,
        classes=CLASSES,
        values=checked["values"],
        shapes=checked["shapes"],
        largest=LARGEST // 1_000_000,
        totals="\n".join(_totals(records)),
        failing="\n".join(_failing(records)) or "None.",
        rewritten="\n".join(_rewritten(records)),
        families="\n".join(_families(records)),
    )
    (folder / "architectures.md").write_text(text, encoding="utf-8")


def _examined(records: Sequence[Record], every: Sequence[str]) -> str:
    if len(records) == len(every):
        return "All of them were examined."
    families, present = {family_of(name) for name in every}, {entry.family for entry in records}
    text = (
        f"**{len(records):,} of these {len(every):,} were examined so far**, of {len(present)} of the {len(families)} "
        "families, and the figures below are of these. A large one that fits no smaller one of its family yet is not "
        "among them, so the shares may fall when all are."
    )
    missing = ", ".join(f"`{name}`" for name in sorted(families - present))
    return f"{text} Nothing is known yet of {missing}." if missing else text


def _totals(records: Sequence[Record]) -> Iterator[str]:
    for library in ("timm", "torchvision"):
        mine = [entry for entry in records if entry.name.startswith(f"{library}/")]
        working = sum(entry.works for entry in mine)
        share = 100 * working / len(mine)
        yield f"| {library} | {len(mine):,} | {working:,} ({share:.1f} %) | {_readable(mine)} |"


def _readable(records: Sequence[Record]) -> str:
    modules = sum(entry.modules for entry in records)
    return f"{100 * sum(entry.inner for entry in records) / modules:.1f} %" if modules else "-"


def _failing(records: Sequence[Record]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for entry in records:
        if not entry.works:
            reasons.setdefault(f"{entry.family}: {entry.problem}", []).append(entry.name)
    for reason, names in sorted(reasons.items()):
        yield f"- {reason}. {', '.join(f'`{name}`' for name in names)}"


def _rewritten(records: Sequence[Record]) -> Iterator[str]:
    joined = [entry for entry in records if entry.layer == "backbone"]
    linear = [entry for entry in records if entry.rewritten and entry.layer != "backbone"]
    for found, what in (
        (
            linear,
            "classify by a 1 x 1 convolution on pooled maps. It becomes a linear layer with the same weights, "
            "`….1` in its place",
        ),
        (
            joined,
            "average the logits of several linear heads. They become one linear layer `head` on the joined inputs; all "
            "other layers are below `backbone.`",
        ),
    ):
        families = ", ".join(sorted({f"`{entry.family}`" for entry in found}))
        yield f"- {len(found)} architectures ({families}) {what}. The logits are the same to rounding; tests say so."


def _families(records: Sequence[Record]) -> Iterator[str]:
    families: dict[str, list[Record]] = {}
    for entry in records:
        families.setdefault(entry.family, []).append(entry)
    for family, mine in sorted(families.items()):
        working = [entry for entry in mine if entry.works]
        parts = Counter((entry.head, entry.layer, entry.pool) for entry in working).most_common(1)
        head, layer, pool = (f"`{part}`" if part else "-" for part in (parts[0][0] if parts else ("", "", "")))
        yield f"| {family} | {len(mine)} | {len(working)} | {head} | {layer} | {pool.strip('`')} | {_readable(mine)} |"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["walk", "write"])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    if given.action == "walk":
        walk(given.records, given.seconds)
    else:
        write(given.records, ROOT / "docs")
