"""The proof sheet of a cut: what it costs, what it still knows, and what chance would have left."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data.images import Images, part_of
from ..data.loader import Loader
from ..exports.cost import cost_of, latencies
from ..exports.plan import CutPlan, inner_layers
from ..exports.shrink import least_at_random
from ..heads.accuracy import right_by_class
from ..heads.null import p_value
from ..heads.paired import accuracy_intervals, compare_paired
from ..networks.inference import prepare
from ._shrink import shrunk
from ._whole import Whole

DRAWS = 5  # random cuts


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
        return proof | {"one_class": one_class(whole, small)}
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


@torch.no_grad()
def logits_of(module: nn.Module, images: Images, whole: Whole) -> Float[Tensor, "n c"]:
    """Of every image, in order."""
    ready, device = prepare(module, [], whole.subject.device, whole.subject.example), whole.subject.device
    loader = Loader(images, whole.subject.network.needed_preprocessing(), whole.subject.batch_size, device)
    return torch.cat([ready(batch.images).float().cpu() for batch in loader])


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


def one_class(whole: Whole, small: nn.Module) -> dict[str, Any]:
    """The class against the rest by its one logit: the threshold that is best on train images, and what it gives.

    Balanced accuracy is the mean of the class's recall and the rest's; the area is that under the ROC curve.
    """
    parts = {}
    for split in ("train", "test"):
        truth: Int64[Tensor, " n"] = (whole.subject.labels(split) == whole.outputs[0]).long()
        logits = logits_of(small, whole.subject.images[split], whole)[:, 0]
        parts[split] = (logits, truth)
    threshold = _best_threshold(*parts["train"])
    logits, truth = parts["test"]
    said = logits > threshold
    recall, rest = float(said[truth == 1].float().mean()), float((~said[truth == 0]).float().mean())
    return {
        "threshold": threshold,
        "recall": 100 * recall,
        "rest_recall": 100 * rest,
        "balanced_accuracy": 50 * (recall + rest),
        "area": _area(logits, truth),
    }


def _best_threshold(logits: Tensor, truth: Tensor) -> float:
    """Halfway between the two neighbours that part the classes best (balanced accuracy)."""
    values, order = logits.double().sort()
    mine = truth[order].double()
    below = mine.cumsum(0) / mine.sum()
    rest_below = (1 - mine).cumsum(0) / (1 - mine).sum()
    best = int((rest_below - below)[:-1].argmax())
    return float((values[best] + values[best + 1]) / 2)


def _area(logits: Tensor, truth: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth.numpy(), logits.numpy()))


def _random_cuts(whole: Whole, plan: CutPlan, before_training: nn.Module, images: Images, seed: int) -> dict[str, Any]:
    """Cuts of the same size with inner filters drawn at random, before any fine-tuning, against this one's."""
    draw = torch.Generator().manual_seed(seed)
    sizes = inner_layers(whole.module, whole.head, whole.subject.example)
    found = []
    for _ in range(DRAWS):
        chance = CutPlan(plan.head, plan.outputs, plan.inputs, least_at_random(plan.zeroed, sizes, draw))
        predicted = logits_of(shrunk(whole, chance, seed), images, whole).argmax(1)
        found.append(int((predicted == images.labels).sum()))
    mine = int((logits_of(before_training, images, whole).argmax(1) == images.labels).sum())
    percents = [100 * right / len(images) for right in found]
    return {
        "cut_before_finetuning": 100 * mine / len(images),
        "random": percents,
        "p_value": p_value(mine, torch.tensor(found)),
    }
