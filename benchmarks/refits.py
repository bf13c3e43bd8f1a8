"""Refits of decomposed heads on cached responses: many side by side against one after the other.

ResNet20 on CIFAR-10's train split; the masks are those of the paper's strategy for k = 1 to 10. And one step of a refit
with 1,000 classes, 2,048 filters and 5 filters a class, on made responses: from the weights in use, and from the table.
"""

from __future__ import annotations

import torch

from ddeep.evidence.store import gather
from ddeep.experiments.run import Plan
from ddeep.heads._objective import HeadProblems
from ddeep.heads.refit import refit, refit_all
from ddeep.networks.head import Head
from ddeep.selections.select import choose, needed
from ddeep.statistics.statistic import Statistic

from ._cifar import plan, smaller
from ._common import Report, Settings, Side, alternate, clocked
from .joint_selection import planted

KS = tuple(range(1, 11))


def measure(settings: Settings) -> Report:
    """Seconds of one refit, and how much faster ten go together."""
    job = plan(settings)
    head = job.context.needed_head()
    responses, labels, masks = _prepared(job, settings)

    def together() -> None:
        refit_all(responses, labels, *head, masks)

    def one_by_one() -> None:
        for mask in masks:
            refit(responses, labels, *head, mask)

    one = masks[KS.index(5)]
    sides = {
        "one": clocked(lambda: refit(responses, labels, *head, one)),
        "one by one": clocked(one_by_one),
        "side by side": clocked(together),
    }
    report = Report({"images": len(labels), "k": KS})
    sides |= _steps(settings.sized(4096, 64))
    report.costs = alternate(sides, settings.sized(3, 1), warm_up=settings.sized(1, 0))
    report.add("one refit, k = 5", report.seconds("one"), "s", at_most=5)
    report.add(f"{len(KS)} refits, one by one / side by side", report.ratio("one by one", "side by side"), at_least=1)
    report.add("a wide step, whole table / weights in use", report.ratio("whole table", "weights in use"), at_least=5)
    report.details["head"] = list(Head(*head).weight.shape)
    return report


def _steps(images: int) -> dict[str, Side]:
    """Gradient and loss of one wide head, both ways."""
    responses, labels, chosen = planted(1000, 2048, images)
    mask = torch.zeros(1000, 2048, dtype=torch.bool).scatter(1, chosen, True)
    problems = HeadProblems(responses, labels, mask.float(), torch.zeros(1000), mask[None], 1e-4)
    start = problems.pack(mask[None].float(), torch.zeros(1, 1000))
    which = torch.zeros(1, dtype=torch.int64)

    def step(narrow: bool) -> None:
        problems.narrow = narrow
        problems.gradient(start, which)

    return {"weights in use": clocked(lambda: step(True)), "whole table": clocked(lambda: step(False))}


def _prepared(job: Plan, settings: Settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Responses and labels of the train split, from the cache if they are there, and the masks."""
    strategy = job.strategy
    assert strategy is not None
    subject = smaller(job.subject, 1024, "fp32") if settings.quick else job.subject
    statistics: list[Statistic] = needed(strategy, list(KS))
    evidence = gather(subject, "train", {job.layer: statistics}, [job.layer])[job.layer]
    masks = torch.stack([choose(strategy, evidence, k, job.context).mask() for k in KS])
    return *evidence.cached_responses(), masks
