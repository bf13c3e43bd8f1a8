"""The study of docs/scale.md: accuracy against the number of filters a class, and against the budget of all classes.

    python -m studies.scale --data-dir data --out runs/scale

Four networks on CIFAR-10, and the responses of a fifth over 202 classes. Selections see the train split; a head of each
is refitted, all with one penalty, and judged on the test split beside that which its strategy learned. Differences from
the best of the same k and budget are paired, with Holm's correction over the strategies. One JSON file a subject,
written after every k and budget, so that an interrupted study goes on; at the end a table (``scale.md``) and a figure
(``scale.png``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddeep.evidence.replay import context_at
from ddeep.evidence.store import gather
from ddeep.experiments._compare_layer import Cell, Skipped, find_candidates, select_all
from ddeep.experiments._standing import add_standing
from ddeep.experiments.opening import open_subject
from ddeep.experiments.settings import SubjectConfig, read_config
from ddeep.files.json import write_json
from ddeep.heads.accuracy import predict
from ddeep.heads.paired import accuracy_intervals
from ddeep.heads.refit import refit_all
from ddeep.networks.head import Head
from ddeep.reports.style import GREY, Plot, grid, save, style
from ddeep.selections.select import get_strategy

STRATEGIES = ("pruned-refit", "elastic-net", "gram", "qpm", "contribution", "paper")
KS = (2, 3, 5, 10, 20, 40, 64)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Subject:
    """What is compared: the settings that name it, the budgets, and the k that these are tried with."""

    title: str
    settings: dict[str, Any]
    budgets: tuple[int, ...]
    ks: tuple[int, ...]


def subjects(data: Path) -> dict[str, Subject]:
    """By the name of their folder."""
    cifar = {"dataset": "cifar10", "data_dir": str(data)}
    few, small = (10, 20, 30, 40, 50), (3, 5)
    published = {depth: str(data / "weights" / name) for depth, name in _PUBLISHED.items()}
    wide = {"responses": str(data / "responses" / "lite0-tiny202.safetensors")}
    return {
        "paper20": Subject(
            "ResNet20, the paper's", {"model": "resnet20", "weights": published[20], **cifar}, few, small
        ),
        "own20": Subject(
            "ResNet20, ddeep's", {"model": "resnet20", "weights": "resnet20-cifar10", **cifar}, few, small
        ),
        "32": Subject("ResNet32", {"model": "resnet32", "weights": published[32], **cifar}, few, small),
        "44": Subject("ResNet44", {"model": "resnet44", "weights": published[44], **cifar}, few, small),
        "lite0": Subject("Lite0, 202 classes", wide, (50, 100, 200), (5,)),
    }


_PUBLISHED = {20: "resnet20-12fca82f.th", 32: "resnet32-d509ac18.th", 44: "resnet44-014dd654.th"}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments.add_argument("--out", type=Path, default=Path("runs/scale"))
    arguments.add_argument("--subjects", nargs="*", default=[], help="some of: paper20 own20 32 44 lite0")
    arguments.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    arguments.add_argument("--k", type=int, nargs="*", default=list(KS))
    arguments.add_argument("--budgets", type=int, nargs="*", help="in place of the subject's")
    arguments.add_argument("--drawn-only", action="store_true", help="table and figure of what is there")
    arguments.add_argument("--l2", type=float, default=1e-4, help="the refits' penalty")
    given = arguments.parse_args()
    known = subjects(given.data_dir)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in [] if given.drawn_only else given.subjects or known:
        study(known[name], given.out / f"{name}.json", given)
    paths = {name: given.out / f"{name}.json" for name in known}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    (given.out / "scale.md").write_text(table(found, known), encoding="utf-8")
    draw(found, known, given.out)
    return 0


def study(about: Subject, path: Path, given: argparse.Namespace) -> None:
    """All selections of a subject, judged; what the file has already is not judged again."""
    subject = open_subject(read_config(SubjectConfig, about.settings))
    (layer,) = subject.layers([])
    context = context_at(subject, layer, 0)
    specs = [get_strategy(name) for name in given.strategies]
    usual = [k for k in given.k if k <= subject.filters(layer)]
    plans = (usual, (None,)), (about.ks, about.budgets if given.budgets is None else tuple(given.budgets))
    skipped = Skipped(tolerant=False)
    found = [find_candidates(specs, ks, subject.filters(layer), context, skipped, budgets) for ks, budgets in plans]
    needs = [statistic for _, statistics in found for statistic in statistics]
    train = gather(subject, "train", {layer: needs}, [layer])[layer]
    test = gather(subject, "test", {layer: []}, [layer])[layer]
    head, (responses, labels) = context.needed_head(), test.cached_responses()
    full = predict(responses, *head) == labels
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    document |= {"full": 100 * full.double().mean().item(), "images": {"train": len(train.labels), "test": len(labels)}}
    document["l2"] = given.l2
    done = {(row["k"], row["budget"]) for row in document["rows"]}
    for (candidates, _), (ks, budgets) in zip(found, plans, strict=True):
        groups = [(k, budget) for k in ks for budget in budgets if (k, budget) not in done]
        cells = select_all(candidates, train, context, skipped, budgets) if groups else []
        for group in groups:
            own = [cell for cell in cells if (cell.k, cell.budget) == group]
            rows = judged(own, train.cached_responses(), (responses, labels), head, full, given.l2)
            document["rows"] += rows
            write_json(path, document)
            print(path.stem, *group, {row["strategy"]: round(best_of(row), 2) for row in rows}, flush=True)


def judged(
    cells: Sequence[Cell],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    head: Head,
    full: Tensor,
    l2: float,
) -> list[dict[str, Any]]:
    """A row for each selection of one k and budget, with its paired difference from the best of them."""
    masks = torch.stack([cell.selection.mask() for cell in cells])
    refits = refit_all(*train, *head, masks, l2=l2)
    rows, outcomes = [], []
    for cell, mask, refit in zip(cells, masks, refits, strict=True):
        heads = {"decomposed": Head(head.weight * mask, head.bias), "refit": refit.head}
        if cell.selection.head is not None:
            heads["learned"] = cell.selection.learned_head(head)
        right = {stage: predict(test[0], *one) == test[1] for stage, one in heads.items()}
        row = {"strategy": cell.strategy, "k": cell.k, "budget": cell.budget, "seconds": round(cell.seconds, 2)}
        row["distinct_filters"] = cell.selection.distinct
        for stage, own in right.items():
            row[stage] = 100 * own.double().mean().item()
            row[f"{stage}_interval"] = accuracy_intervals(own.sum()[None], len(own))[0].tolist()
        rows.append(row)
        outcomes.append(
            max((right[stage] for stage in ("refit", "learned") if stage in right), key=lambda own: own.sum())
        )
    add_standing(rows, torch.stack(outcomes), full, 0)
    return rows


def best_of(row: dict[str, Any]) -> float:
    """The accuracy that a row stands for: refitted, or as it was learned where that is more."""
    return max(row["refit"], row.get("learned") or 0.0)


def table(found: dict[str, Any], named: dict[str, Subject]) -> str:
    """Accuracy of every strategy, a table for each subject and budget or none."""
    text = []
    for name, part in found.items():
        rows = part["rows"]
        text.append(f"### {named[name].title} (full network {part['full']:.2f} %)\n")
        for axis, fixed in [("k", None)] + [("budget", k) for k in named[name].ks]:
            own = [row for row in rows if (row["budget"] is None) == (axis == "k") and fixed in (None, row["k"])]
            if not own:
                continue
            along = list(dict.fromkeys(row[axis] for row in own))
            heads = [f"{axis} = {value}" for value in along]
            text.append("| " + " | ".join(["strategy" if fixed is None else f"k = {fixed}", *heads]) + " |")
            text.append("|" + "---|" * (len(along) + 1))
            for strategy in dict.fromkeys(row["strategy"] for row in own):
                cells = {row[axis]: cell(row) for row in own if row["strategy"] == strategy}
                text.append("| " + " | ".join([f"`{strategy}`", *(cells.get(value, "") for value in along)]) + " |")
            text.append("")
    return "\n".join(text)


def cell(row: dict[str, Any]) -> str:
    """Its accuracy, bold where it is the best or cannot be told from it."""
    shown = f"{best_of(row):.2f}"
    return f"**{shown}**" if row["best_alike"] else shown


def draw(found: dict[str, Any], named: dict[str, Subject], out: Path) -> None:
    """A row of panels against k and one against the budget, a panel a subject."""
    with style():
        figure = Figure(figsize=(2.3 * len(found) + 0.6, 4.6), layout="constrained")
        panels = figure.subplots(2, len(found), squeeze=False)
        for column, (name, part) in enumerate(found.items()):
            free = [row for row in part["rows"] if row["budget"] is None]
            k = named[name].ks[-1] if len(found) == 1 else 5
            bound = [row for row in part["rows"] if row["budget"] is not None and row["k"] == k]
            panels[0, column].set_title(named[name].title)
            panel(panels[0, column], free, "k", "k, filters per class", part["full"])
            panel(panels[1, column], bound, "budget", f"budget of all classes, k = {k}", part["full"])
        for row in panels:
            row[0].set_ylabel("test accuracy, %")
        lines = {
            text: line for axes in panels.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(lines.values(), lines.keys(), loc="outside lower left", ncols=len(lines))
        save(Plot("scale", figure, "Test accuracy against filters per class and against the budget."), out)


def panel(axes: Axes, rows: Sequence[dict[str, Any]], axis: str, label: str, full: float) -> None:
    """A line for each strategy, the full network dashed."""
    grid(axes, "y")
    axes.axhline(full, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="full network")
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        own = sorted((row[axis], best_of(row)) for row in rows if row["strategy"] == strategy)
        colour = COLOURS[STRATEGIES.index(strategy)] if strategy in STRATEGIES else GREY
        axes.plot(*zip(*own, strict=True), marker="o", markersize=3, color=colour, label=strategy)
    along = sorted({row[axis] for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(along, list(map(str, along)))
    axes.minorticks_off()
    axes.set_xlabel(label)


if __name__ == "__main__":
    sys.exit(main())
