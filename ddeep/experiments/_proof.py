"""The proof sheet of a cut: what it costs, what it still knows, and what chance would have left."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..data.images import Images, part_of
from ..exports.cost import cost_of, latencies
from ..exports.plan import CutPlan
from ..heads.accuracy import right_by_class
from ..heads.null import p_value
from ..heads.paired import accuracy_intervals, compare_paired
from ._one_class import prove_one
from ._shrink import random_cuts
from ._whole import Whole, logits_of


def prove(whole: Whole, plan: CutPlan, small: nn.Module, before_training: nn.Module, seed: int) -> dict[str, Any]:
    """Cost, accuracy among the kept classes on the test split, and random cuts, JSON-ready."""
    example = whole.subject.example
    costs = {"whole": cost_of(whole.module, example), "cut": cost_of(small, example)}
    proof: dict[str, Any] = {
        "cost": {name: asdict(cost) for name, cost in costs.items()},
        "shares": costs["cut"].shares(costs["whole"]),
        "milliseconds": latencies({"whole": whole.module, "cut": small}, example),
    }
    images = whole.images("test")
    if len(whole.outputs) == 1:
        return proof | {"one_class": prove_one(whole, plan, small, before_training, seed)}
    columns = list(whole.outputs)
    logits = {
        "network": logits_of(whole.subject.network.module, images, whole)[:, columns],
        "run": logits_of(whole.run, images, whole)[:, columns],
        "cut": logits_of(small, images, whole),
    }
    right = {name: found.argmax(1) == images.labels for name, found in logits.items()}
    totals = torch.tensor([int(row.sum()) for row in right.values()])
    intervals = accuracy_intervals(totals, len(images)).tolist()
    proof["accuracy"] = {
        name: {"percent": 100 * float(row.float().mean()), "interval": interval}
        for (name, row), interval in zip(right.items(), intervals, strict=True)
    }
    proof["cut_against_run"] = compare_paired(right["cut"], right["run"], seed=seed)._asdict()
    proof["cut_against_network"] = compare_paired(right["cut"], right["network"], seed=seed)._asdict()
    proof["per_class"] = _per_class(whole, images, logits)
    proof["removed_are_called"] = removed_are_called(whole, small)
    if plan.zeroed:
        proof["random"] = _random_cuts(whole, plan, before_training, images, seed)
    return proof


def _per_class(whole: Whole, images: Images, logits: dict[str, Tensor]) -> list[dict[str, Any]]:
    count = len(whole.outputs)
    right = {name: right_by_class(images.labels, found.argmax(1), count).tolist() for name, found in logits.items()}
    of_class = images.labels.bincount(minlength=count).tolist()
    return [
        {"class": name, "images": of_class[c], **{key: hits[c] for key, hits in right.items()}}
        for c, name in enumerate(whole.classes)
    ]


def removed_are_called(whole: Whole, small: nn.Module) -> dict[str, dict[str, int]]:
    """For every removed class, how many of its test images get each kept class's name."""
    labels = whole.subject.labels("test")
    found = {}
    for c, name in enumerate(whole.subject.classes):
        indices = (labels == c).nonzero()[:, 0]
        if c in whole.outputs or not len(indices):
            continue
        images = part_of(whole.subject.images["test"], indices, labels[indices], whole.subject.classes)
        called = logits_of(small, images, whole).argmax(1).bincount(minlength=len(whole.outputs))
        found[name] = dict(zip(whole.classes, called.tolist(), strict=True))
    return found


def _random_cuts(whole: Whole, plan: CutPlan, before_training: nn.Module, images: Images, seed: int) -> dict[str, Any]:
    """Accuracy of random cuts of the same size, before any fine-tuning, against this one's."""

    def right(module: nn.Module) -> int:
        return int((logits_of(module, images, whole).argmax(1) == images.labels).sum())

    mine, found = right(before_training), [right(module) for module in random_cuts(whole, plan, seed)]
    return {
        "cut_before_finetuning": 100 * mine / len(images),
        "random": [100 * one / len(images) for one in found],
        "p_value": p_value(mine, torch.tensor(found)),
    }
