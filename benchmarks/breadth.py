"""What more costs: ten layers against one, all strategies against one, in the same pass.

``one layer``: the statistics of ``--strategy paper`` at the last block; ``ten layers``: the same at the outputs of the
stem and of all nine blocks. ``one strategy``: pass and selection of ``--strategy paper`` at the layer that feeds the
head; ``all strategies``: pass, later rounds over the kept responses and selections of every strategy that needs
neither gradients nor learning. ``with gradients`` adds the strategies that take a backward pass for every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from ddeep.data.batches import Batch
from ddeep.evidence.evidence import gather_kept
from ddeep.experiments.run import Plan
from ddeep.networks.inference import prepare
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.registry.specs import StrategySpec
from ddeep.selections.select import choose, needed

from ._cifar import BLOCKS, gather, images_of, plan, ready_batches
from ._common import Report, Settings, alternate, clocked

LAST = "layer3.2"


def measure(settings: Settings) -> Report:
    """Ratios of many to one."""
    job = plan(settings)
    subject = job.subject
    batches = ready_batches(subject, settings.sized(10_240, 1024))
    blocks, last = subject.layers(BLOCKS), subject.layers([LAST])
    specs = list(registry().strategies.values())
    closed = [spec for spec in specs if not spec.gradients and not spec.learned]
    gradients = [spec for spec in specs if spec.gradients]
    paper = [spec for spec in closed if spec.name == "paper"]
    ready = {
        layers: prepare(subject.network.module, layers, subject.device, subject.example)
        for layers in (tuple(last), tuple(blocks), (job.layer,))
    }
    sides = {
        "one layer": clocked(partial(_layers, job, ready, batches, tuple(last))),
        "ten layers": clocked(partial(_layers, job, ready, batches, tuple(blocks))),
        "one strategy": clocked(partial(_strategies, job, ready, batches, paper)),
        "all strategies": clocked(partial(_strategies, job, ready, batches, closed)),
        "with gradients": clocked(partial(_strategies, job, ready, batches, closed + gradients)),
    }
    setting = {"images": images_of(batches), "layers": len(blocks), "strategies": len(closed)}
    report = Report({**setting, "gradient strategies": len(gradients)})
    report.costs = alternate(sides, settings.sized(5, 1))
    report.add(f"{len(blocks)} layers / one", report.ratio("ten layers", "one layer"), at_most=1.15)
    many = report.ratio("all strategies", "one strategy")
    report.add(f"{len(closed)} strategies / one", many, at_most=1.15)
    report.add(
        f"{len(closed) + len(gradients)} strategies, a backward pass included / one",
        report.ratio("with gradients", "one strategy"),
    )
    return report


def _layers(
    job: Plan, ready: dict[tuple[Layer, ...], nn.Module], batches: Sequence[Batch], layers: tuple[Layer, ...]
) -> None:
    requests = dict.fromkeys(layers, job.statistics["train"])
    gather(ready[layers], batches, requests, len(job.subject.classes), keep=False)


def _strategies(
    job: Plan, ready: dict[tuple[Layer, ...], nn.Module], batches: Sequence[Batch], specs: Sequence[StrategySpec]
) -> None:
    wanted = list(dict.fromkeys(statistic for spec in specs for statistic in needed(spec, [job.k])))
    wanted += [statistic for statistic in job.statistics["train"] if statistic not in wanted]
    found = gather(ready[job.layer,], batches, {job.layer: wanted}, len(job.subject.classes))[job.layer]
    gather_kept(found, wanted, job.subject.device)
    for spec in specs:
        choose(spec, found, job.k, job.context)
