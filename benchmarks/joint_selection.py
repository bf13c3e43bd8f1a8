"""Choosing few filters jointly for many classes: time and memory at growing C, K and N, and what is found again.

Made responses: independent normal filters, labels drawn from a planted head with k filters a class. Each of C, K and N
is doubled twice, the others kept; ``growth`` is the exponent between the last two sizes. The largest case, in a process
of its own, is that of a thousand classes.
"""

from __future__ import annotations

import math
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence, gather_kept
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.selections.select import choose, needed

from ._common import Report, Settings, clocked, command

K = 5
BASE = (100, 512, 10_000)  # classes, filters, images
LARGE = (1000, 2048, 50_000)


def planted(classes: int, filters: int, images: int, k: int = K) -> tuple[Tensor, Tensor, Tensor]:
    """Responses, labels, and the filters of every class; weights of 1 to 2 in magnitude, classes equally likely."""
    generator = torch.Generator().manual_seed(0)
    responses = torch.randn(images, filters, generator=generator)
    chosen = torch.stack([torch.randperm(filters, generator=generator)[:k] for _ in range(classes)])
    size = 1 + torch.rand(chosen.shape, generator=generator)
    weight = torch.where(torch.rand(chosen.shape, generator=generator) < 0.5, size, -size)
    labels = []
    for part in responses.split(4096):
        logits = F.embedding_bag(chosen, part.T.contiguous(), per_sample_weights=weight, mode="sum")
        logits -= weight.square().sum(1, keepdim=True) / 2
        noise = -torch.rand(logits.shape, generator=generator).clamp(min=1e-20).log()
        labels.append((logits - noise.log()).argmax(0))
    return responses, torch.cat(labels), chosen


def recovered(strategy: str, classes: int, filters: int, images: int, k: int = K) -> float:
    """Percent of the planted filters that the strategy selects."""
    responses, labels, chosen = planted(classes, filters, images, k)
    return _select(strategy, responses, labels, chosen)


def measure(settings: Settings) -> Report:
    """Seconds of the processor at growing sizes, their exponents, and the largest case."""
    base = tuple(settings.sized(size, small) for size, small in zip(BASE, (4, 32, 300), strict=True))
    large = tuple(settings.sized(size, small) for size, small in zip(LARGE, (8, 64, 600), strict=True))
    report = Report({"k": K, "base": base, "large": large})
    for strategy in ("pruned-refit", "gram"):
        for axis, name in enumerate("CKN"):
            for times in (1, 2, 4):
                size = [given * times if place == axis else given for place, given in enumerate(base)]
                made = planted(*size)
                report.costs[f"{strategy}, {times}{name}"] = [clocked(partial(_select, strategy, *made))()]
            seconds = [report.costs[f"{strategy}, {times}{name}"][0].processor for times in (2, 4)]
            report.add(f"{strategy}: growth with {name}", math.log2(seconds[1] / seconds[0]))
    done = command(["-m", "benchmarks.joint_selection", *map(str, large)])
    report.costs["large"] = [done.cost]
    report.add("large: found again", float(done.output), "%", at_least=95)
    report.add("large, with the making", report.seconds("large"), "s", at_most=300)
    report.add("large, memory", report.gigabytes("large"), "GB", at_most=6)
    return report


def _select(strategy: str, responses: Tensor, labels: Tensor, chosen: Tensor) -> float:
    classes, k = chosen.shape
    counts = torch.bincount(labels, minlength=classes)
    evidence = Evidence(Layer("made"), "train", counts, responses.shape[1], {}, responses, labels)
    spec = registry().find("strategy", strategy)
    gather_kept(evidence, needed(spec, [k]), torch.device("cpu"))
    mask = choose(spec, evidence, k, Context(nn.Identity())).mask()
    return 100 * mask.gather(1, chosen).double().mean().item()


if __name__ == "__main__":
    print(recovered("pruned-refit", *map(int, sys.argv[1:])))
