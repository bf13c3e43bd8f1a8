"""The page and the table of all architectures, from the records of a walk and, where it lacks some, of earlier ones."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import ddeep  # noqa: F401 - first: it repairs torchvision's import

# isort: split
import timm
import torch
import torchvision

from ddeep_plugins_builtin.models import timm_models, torchvision_models

from .architecture_records import BYTES, CLASSES, LARGEST, SECONDS, Record, all_names, family_of
from .architecture_walk import read

HEADER = """# Architectures

Made by `python -m studies.architectures`; do not edit. timm {timm}, torchvision {torchvision}, torch {torch}.

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
    every, fresh = all_names(), read(path)
    known = {**listed(folder / "architectures.csv"), **{name: one for name, one in fresh.items() if one.examined}}
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
        examined=_examined(records, every, sum(one.examined for one in fresh.values())),
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


def listed(path: Path) -> dict[str, Record]:
    """What an earlier page says."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: _record_of(row) for row in csv.DictReader(file)}


def _record_of(row: dict[str, str]) -> Record:
    read_as = {"int": int, "bool": lambda text: text == "True", "str": str}
    return Record(**{field.name: read_as[str(field.type)](row[field.name]) for field in fields(Record)})


def _examined(records: Sequence[Record], every: Sequence[str], fresh: int) -> str:
    again = f" {fresh:,} of them in the last walk, the others in an earlier one." if fresh < len(records) else ""
    if len(records) == len(every):
        return f"All of them were examined{f',{again}' if again else '.'}"
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
