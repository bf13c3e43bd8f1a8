"""Cut networks of the paper's checkpoint against Torch-Pruning's magnitude and Taylor importances, at equal cost.

    python -m studies.cuts RUN cat,dog OUT.json --seeds 3 --rates 0.001,0.003

RUN is a run of resnet20 on CIFAR-10. Every network starts from the same weights and is pruned to the same share of the
multiply-adds. All are then made good in the same way, on the train images of the kept classes: convolutions that lost
inputs are refitted by least squares, batch norms matched, and the dense network's logits learned for an epoch. Where
there are several ``--rates``, each method gets the one that is best on a fifth of those images, which its epoch then
leaves out; of equally good ones the first. Nothing is chosen on the test split. A seed draws the images that a network
is made good with, those of Torch-Pruning's gradients, the order of the epoch and, for random cuts, the filters.

ddeep and the random cuts remove filters of inner layers. Torch-Pruning (pip install torch-pruning) prunes what it can,
all groups of coupled channels but the logits, residual streams among them.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from ddeep.data.images import Images, part_of
from ddeep.data.loader import Loader
from ddeep.experiments._shrink import (
    filters_to_remove,
    fine_tune,
    inner_importances,
    shrunk,
    some_images,
)
from ddeep.experiments._whole import Whole, logits_of, open_whole
from ddeep.experiments.settings import CutConfig
from ddeep.exports.batch_norms import match_batch_norms
from ddeep.exports.cost import cost_of
from ddeep.exports.cut import Channels
from ddeep.exports.plain import plain_network
from ddeep.exports.plan import CutPlan, inner_layers
from ddeep.exports.reconstruct import reconstruct
from ddeep.exports.shrink import STEPS, least_at_random
from ddeep.networks.head import get_head

SHARE = 0.5
GRADIENT_IMAGES = 1024  # of Torch-Pruning's Taylor importance
RESAMPLES = 10_000

Method = Callable[[int], nn.Module]


def by_ddeep(whole: Whole, strategy: str) -> tuple[Method, Method]:
    """``ddeep cut --flops 0.5``, and cuts of the same size, filter for filter of every layer, drawn at random."""

    @cache
    def plan() -> CutPlan:
        exact = CutPlan.exact(whole.module, whole.head, whole.outputs)
        config = CutConfig(classes=whole.classes, flops=SHARE, strategy=strategy)
        return replace(exact, zeroed=filters_to_remove(whole, exact, inner_importances(whole, strategy, 0), config))

    def at_random(seed: int) -> nn.Module:
        sizes = inner_layers(whole.module, whole.head, whole.subject.example)
        draw = torch.Generator().manual_seed(seed)
        return shrunk(whole, replace(plan(), zeroed=least_at_random(plan().zeroed, sizes, draw)), seed)

    return (lambda seed: shrunk(whole, plan(), seed)), at_random


def by_torch_pruning(whole: Whole, importance: Callable[[], Any], *, gradients: bool) -> Method:
    """The network with its full head for the kept classes, all channels pruned alike until the cost is met."""
    start = plain_network(whole.subject.network.module, whole.head)
    head = get_head(start, whole.head)
    kept = list(whole.outputs)
    head.weight, head.bias = nn.Parameter(head.weight.detach()[kept]), nn.Parameter(head.bias.detach()[kept])
    head.out_features = len(kept)
    example = whole.subject.example
    most = SHARE * cost_of(whole.module, example).multiply_adds

    def pruned(ratio: float, slopes: Mapping[str, Tensor]) -> nn.Module:
        module = copy.deepcopy(start)
        for name, parameter in module.named_parameters():
            parameter.grad = slopes.get(name)
        _number_channels(module)
        ignored = [get_head(module, whole.head)]
        pruner = tp.pruner.BasePruner(
            module, example[:1], importance=importance(), pruning_ratio=ratio, ignored_layers=ignored
        )
        pruner.step()
        module.zero_grad(set_to_none=True)
        return module

    def made(seed: int) -> nn.Module:
        slopes = _gradients(whole, start, seed) if gradients else {}
        low, high = 0.0, 0.95
        for _ in range(STEPS):
            middle = (low + high) / 2
            fits = cost_of(pruned(middle, slopes), example).multiply_adds <= most
            low, high = (low, middle) if fits else (middle, high)
        module = pruned(high, slopes)
        left = _left(module, start)
        parts = {name: module.get_submodule(name) for name in left}
        lost = [
            name
            for name, part in parts.items()
            if isinstance(part, nn.Conv2d) and part.in_channels < start.get_submodule(name).in_channels
        ]
        batches = list(some_images(whole, seed))
        reconstruct(start, module, left, lost, batches)
        match_batch_norms(start, module, left, batches)
        return module

    return made


def _gradients(whole: Whole, start: nn.Module, seed: int) -> dict[str, Tensor]:
    """Of the mean cross-entropy of some train images, by parameter."""
    images, module = whole.images("train"), copy.deepcopy(start)
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:GRADIENT_IMAGES]
    some = part_of(images, drawn, images.labels[drawn], images.classes)
    batch = next(iter(Loader(some, whole.subject.network.needed_preprocessing(), GRADIENT_IMAGES, "cpu")))
    F.cross_entropy(module(batch.images), batch.labels).backward()
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def _number_channels(module: nn.Module) -> None:
    """Write every channel's number where Torch-Pruning does not look, and which it prunes along."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            part.running_mean.copy_(torch.arange(part.num_features))


def _left(module: nn.Module, start: nn.Module) -> dict[str, Channels]:
    """Which channels are left, by the numbers in the norms, whose own statistics come back; in the order of layers."""
    found = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            kept = tuple(part.running_mean.long().tolist())
            found[name.replace("bn", "conv")] = found[name] = Channels(kept)
            part.running_mean.copy_(start.get_submodule(name).running_mean[list(kept)])  # type: ignore[index]
    return found


def best_rate(whole: Whole, module: nn.Module, rates: list[float], epochs: int) -> tuple[float, dict[str, float]]:
    """The learning rate that serves ``module`` best, and what each leads to: percent of a fifth of the train images.

    The network itself has seen that fifth, pictures without labels; the epoch has not.
    """
    if len(rates) == 1:
        return rates[0], {}
    images = whole.subject.images["train"]
    of_kept = torch.isin(images.labels, torch.tensor(whole.outputs)).nonzero()[:, 0]
    order = of_kept[torch.randperm(len(of_kept), generator=torch.Generator().manual_seed(0))]
    held, rest = (_with_train(whole, images, part) for part in (order[: len(order) // 5], order[len(order) // 5 :]))
    found = {}
    for rate in rates:
        tried = copy.deepcopy(module)
        fine_tune(rest, tried, CutConfig(classes=whole.classes, epochs=epochs, lr=rate), None)
        found[str(rate)] = 100 * float(_right(tried, held.images("train"), held).double().mean())
    return max(rates, key=lambda rate: found[str(rate)]), found


def _with_train(whole: Whole, images: Images, indices: Tensor) -> Whole:
    part = part_of(images, indices, images.labels[indices], images.classes)
    return replace(whole, subject=replace(whole.subject, images={**whole.subject.images, "train": part}))


def _right(module: nn.Module, images: Images, whole: Whole) -> Tensor:
    return logits_of(module, images, whole).argmax(1) == images.labels


def against(mine: Tensor, other: Tensor) -> dict[str, Any]:
    """Points between two methods' mean accuracy, their networks' hits ``(seeds, images)``, with a 95 % interval.

    Images are drawn anew, the same for both; networks are not, so that what a seed changes is not in it.
    """
    difference = 100 * (mine.double().mean(0) - other.double().mean(0))
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, len(difference), (RESAMPLES, len(difference)), generator=draw)
    means = torch.stack([difference[row].mean() for row in drawn])
    return {
        "points": float(difference.mean()),
        "interval": means.quantile(torch.tensor([0.025, 0.975]).double()).tolist(),
    }


def main() -> None:
    """Write the table as JSON, and print its rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("classes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--strategy", default="taylor")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rates", default="0.001")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    whole = open_whole(given.run, CutConfig(classes=tuple(given.classes.split(",")), data_dir=given.data_dir))
    images, rates = whole.images("test"), [float(rate) for rate in given.rates.split(",")]
    full = logits_of(whole.subject.network.module, images, whole)[:, list(whole.outputs)].argmax(1) == images.labels
    magnitude, taylor = tp.importance.GroupMagnitudeImportance, tp.importance.GroupTaylorImportance
    ours, at_random = by_ddeep(whole, given.strategy)
    methods: dict[str, Method] = {
        f"ddeep {given.strategy}": ours,
        "Torch-Pruning magnitude": by_torch_pruning(whole, magnitude, gradients=False),
        "Torch-Pruning Taylor": by_torch_pruning(whole, taylor, gradients=True),
        "random": at_random,
    }
    rows: list[dict[str, Any]] = []
    hits: dict[str, Tensor] = {}
    for name, make in methods.items():
        started = time.monotonic()
        networks = [make(seed) for seed in range(given.seeds)]
        before = torch.stack([_right(module, images, whole) for module in networks])
        rate, tried = best_rate(whole, networks[0], rates, given.epochs)
        for seed, module in enumerate(networks):
            fine_tune(whole, module, CutConfig(classes=whole.classes, epochs=given.epochs, lr=rate, seed=seed), None)
        hits[name] = torch.stack([_right(module, images, whole) for module in networks])
        costs = [cost_of(module, whole.subject.example) for module in networks]
        rows.append(
            {
                "method": name,
                "shares": [cost.shares(cost_of(whole.module, whole.subject.example)) for cost in costs],
                "rate": rate,
                "held_out_percent_by_rate": tried,
                "percent_before_training": (100 * before.double().mean(1)).tolist(),
                "percent": (100 * hits[name].double().mean(1)).tolist(),
                "against_full": against(hits[name], full[None]),
                "ours_against_it": against(hits[f"ddeep {given.strategy}"], hits[name]),
                "seconds": time.monotonic() - started,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        facts = {"classes": whole.classes, "share": SHARE, "epochs": given.epochs, "images": len(images)}
        document = facts | {"full_percent": 100 * float(full.double().mean()), "rows": rows}
        given.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
