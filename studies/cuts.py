"""Cut networks of the paper's checkpoint against Torch-Pruning's magnitude and Taylor importances, at equal cost.

    python studies/cuts.py RUN cat,dog OUT.json

RUN is a run of resnet20 on CIFAR-10. Every network starts from the same weights and is pruned to the same share of the
multiply-adds. All are then made good in the same way, on the train images of the kept classes: convolutions that lost
inputs are refitted by least squares, batch norms matched, and the dense network's logits learned for an epoch. Nothing
is chosen on the test split. Torch-Pruning (pip install torch-pruning) prunes what it can: all groups of coupled
channels but the logits.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import nn

from ddeep.data.images import part_of
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
from ddeep.exports.plan import CutPlan
from ddeep.exports.reconstruct import reconstruct
from ddeep.exports.shrink import STEPS
from ddeep.heads.paired import compare_paired
from ddeep.networks.head import get_head

SHARE = 0.5


def by_ddeep(whole: Whole, strategy: str, seed: int) -> nn.Module:
    """``ddeep cut --flops 0.5``."""
    config = CutConfig(classes=whole.classes, flops=SHARE, strategy=strategy)
    plan = CutPlan.exact(whole.module, whole.head, whole.outputs)
    zeroed = filters_to_remove(whole, plan, inner_importances(whole, strategy, seed), config)
    return shrunk(whole, replace(plan, zeroed=zeroed), seed)


def by_torch_pruning(whole: Whole, importance: Callable[[], Any], gradients: bool, seed: int) -> nn.Module:
    """The network with its full head for the kept classes, all channels pruned alike until the cost is met."""
    start = plain_network(whole.subject.network.module, whole.head)
    head = get_head(start, whole.head)
    kept = list(whole.outputs)
    head.weight, head.bias = nn.Parameter(head.weight.detach()[kept]), nn.Parameter(head.bias.detach()[kept])
    head.out_features = len(kept)
    example = whole.subject.example
    most = SHARE * cost_of(whole.module, example).multiply_adds

    def pruned(ratio: float) -> nn.Module:
        module = copy.deepcopy(start)
        if gradients:
            images = whole.images("train")
            drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:1024]
            some = part_of(images, drawn, images.labels[drawn], images.classes)
            batch = next(iter(Loader(some, whole.subject.network.needed_preprocessing(), 1024, "cpu")))
            F.cross_entropy(module(batch.images), batch.labels).backward()
        _number_channels(module)
        ignored = [get_head(module, whole.head)]
        pruner = tp.pruner.BasePruner(
            module, example[:1], importance=importance(), pruning_ratio=ratio, ignored_layers=ignored
        )
        pruner.step()
        module.zero_grad(set_to_none=True)
        return module

    low, high = 0.0, 0.9
    for _ in range(STEPS):
        middle = (low + high) / 2
        fits = cost_of(pruned(middle), example).multiply_adds <= most
        low, high = (low, middle) if fits else (middle, high)
    module = pruned(high)
    left = _left(module, start)
    lost = [name for name in left if isinstance(part := module.get_submodule(name), nn.Conv2d) and part.in_channels > 3]
    batches = list(some_images(whole, seed))
    reconstruct(start, module, left, lost, batches)
    match_batch_norms(start, module, left, batches)
    return module


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


def main() -> None:
    """Write the table as JSON, and print its rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("classes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--strategy", default="taylor")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    whole = open_whole(given.run, CutConfig(classes=tuple(given.classes.split(",")), data_dir=given.data_dir))
    images = whole.images("test")
    full = logits_of(whole.subject.network.module, images, whole)[:, list(whole.outputs)].argmax(1) == images.labels
    magnitude, taylor = tp.importance.GroupMagnitudeImportance, tp.importance.GroupTaylorImportance
    methods: dict[str, Callable[[int], nn.Module]] = {
        f"ddeep {given.strategy}": lambda seed: by_ddeep(whole, given.strategy, seed),
        "Torch-Pruning magnitude": lambda seed: by_torch_pruning(whole, magnitude, False, seed),
        "Torch-Pruning Taylor": lambda seed: by_torch_pruning(whole, taylor, True, seed),
    }
    rows: list[dict[str, Any]] = []
    for name, make in methods.items():
        for seed in range(given.seeds):
            module = make(seed)
            before = logits_of(module, images, whole).argmax(1) == images.labels
            fine_tune(whole, module, CutConfig(classes=whole.classes, epochs=given.epochs, seed=seed), None)
            after = logits_of(module, images, whole).argmax(1) == images.labels
            cost = cost_of(module, whole.subject.example)
            rows.append(
                {
                    "method": name,
                    "seed": seed,
                    **cost.shares(cost_of(whole.module, whole.subject.example)),
                    "full_percent": 100 * float(full.float().mean()),
                    "percent_before_training": 100 * float(before.float().mean()),
                    "percent": 100 * float(after.float().mean()),
                    "against_full": compare_paired(after, full)._asdict(),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    given.out.write_text(
        json.dumps({"classes": whole.classes, "share": SHARE, "epochs": given.epochs, "rows": rows}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
