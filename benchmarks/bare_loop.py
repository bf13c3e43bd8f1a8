"""The evidence pass against a bare forward loop over the same tensors, in fp32 and bf16; and the memory of a whole run.

All sides but one run the same prepared network (batch norms folded, channels last) over the same normalised batches.
``bare`` is the forward pass alone; ``evidence`` also pools, keeps the responses and gathers every statistic of
``ddeep run --strategy paper``. ``as built`` is the bare loop over the network as its author wrote it, batches in the
layout that torchvision gives. bf16 is also judged by the filters that it selects.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import get_args

from ddeep.experiments.run import Plan
from ddeep.networks.device import Precision
from ddeep.networks.inference import prepare
from ddeep.selections.select import choose
from ddeep.selections.selection import Selection

from ._cifar import bare, gather, images_of, plan, ready_batches
from ._common import Report, Settings, alternate, clocked, command

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def measure(settings: Settings) -> Report:
    """Ratios of the passes, the filters that bf16 selects as fp32 does, the peak memory of ``ddeep run``."""
    job = plan(settings)
    subject = job.subject
    batches = ready_batches(subject, settings.sized(15_360, 1024))
    ready = prepare(subject.network.module, [job.layer], subject.device, subject.example)
    planar = [batch._replace(images=batch.images.contiguous()) for batch in batches]
    selected: dict[Precision, Selection] = {}
    sides = {"as built": clocked(partial(bare, subject.network.module.eval(), planar, "fp32"))}
    for precision in PRECISIONS:
        sides[f"bare {precision}"] = clocked(partial(bare, ready, batches, precision))
        sides[f"evidence {precision}"] = clocked(partial(_evidence, job, ready, batches, precision, selected))
    report = Report({"images": images_of(batches), "batch_size": len(batches[0].labels)})
    report.costs = alternate(sides, settings.sized(5, 1))
    for precision in PRECISIONS:
        ratio = report.ratio(f"evidence {precision}", f"bare {precision}")
        report.add(f"evidence pass / bare loop, {precision}", ratio, at_most=1.05)
    report.add("as built / prepared, bare loops, fp32", report.ratio("as built", "bare fp32"))
    report.add("evidence pass, fp32 / bf16", report.ratio("evidence fp32", "evidence bf16"), at_least=1.5)
    report.add("share of filters selected in bf16 as in fp32", _shared(selected), at_least=0.98)
    report.add("peak memory of ddeep run, images to convert included", _whole_run(settings), "GB", at_most=1.5)
    return report


def _evidence(job: Plan, ready, batches, precision, selected) -> None:  # type: ignore[no-untyped-def]
    requests = {job.layer: job.statistics["train"]}
    found = gather(ready, batches, requests, len(job.subject.classes), precision)[job.layer]
    assert job.strategy is not None
    selected[precision] = choose(job.strategy, found, job.k, job.context)


def _shared(selected: dict[Precision, Selection]) -> float:
    pairs = [(set(a), set(b)) for a, b in zip(selected["fp32"].filters, selected["bf16"].filters, strict=True) if a]
    return sum(len(a & b) / len(a) for a, b in pairs) / len(pairs)


def _whole_run(settings: Settings) -> float:
    """Gigabytes of ``ddeep run`` from an empty cache (quick: on the digits)."""
    words = ["-m", "ddeep", "run", "--model", "resnet20", "--strategy", "paper"]
    words += [] if settings.quick else ["--dataset", "cifar10", "--data-dir", str(settings.data_dir)]
    with tempfile.TemporaryDirectory() as folder:
        done = command([*words, "--out", str(Path(folder) / "run")], DDEEP_CACHE=str(Path(folder) / "cache"))
    assert done.cost.gigabytes is not None
    return done.cost.gigabytes
