"""Is it real? Random selections, noise at the filters, and tests on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..heads.ablation import essentiality
from ..heads.null import null_right, p_value
from ..heads.paired import Paired, accuracy_intervals, compare_paired
from .findings import Findings, Measured

DRAWS = 200  # random selections, as many as a comparison draws
FEWEST = 20
NOISE = 5  # draws of noise
WORK = 2e11  # products of a response and a weight that a report may take for either
FEW_IMAGES = 1000  # a test split of fewer tells little apart


@dataclass(frozen=True)
class Against:
    """A stage against the full network on the same images; ``gained`` and ``lost`` are images."""

    stage: str
    paired: Paired
    gained: int
    lost: int


@dataclass(frozen=True)
class Noise:
    """Percent of the test images classified correctly by the full network, with noise at some filters' responses."""

    clean: float
    others: float
    selected: float
    draws: int


@dataclass(frozen=True)
class Proof:
    """``null``: images that decomposed heads of random selections get right, one number a draw; ``p`` of the run's."""

    images: int
    null: Int64[Tensor, " d"] | None = None
    p: float | None = None
    noise: Noise | None = None
    against: tuple[Against, ...] = ()


def prove(found: Findings, seed: int) -> Proof:
    """The evidence that the images give; without them, or without a head, there is none."""
    images = int(found.document["images"].get("test", 0))
    measured = found.measured
    if measured is None or "decomposed" not in measured.heads:
        return Proof(images)
    responses, labels = measured.test.cached_responses()
    mask = found.selection.mask()
    head = measured.heads["full"]
    products = len(labels) * mask.numel()
    draws = int(max(FEWEST, min(DRAWS, WORK // products)))
    generator = torch.Generator().manual_seed(seed)
    sizes = mask.sum(1).tolist()  # an absent class keeps all of its row
    budget, device = found.document.get("budget"), measured.subject.device
    null = null_right(responses, labels, head, sizes, budget, draws, generator, device=device)
    right = right_at(measured, "decomposed")
    return Proof(
        images=len(labels),
        null=null,
        p=p_value(int(right.sum()), null),
        noise=_noise(measured, mask, seed, int(max(1, min(NOISE, WORK // (4 * products))))),
        against=tuple(_against(measured, stage, seed) for stage in measured.predictions if stage != "full"),
    )


def right_at(measured: Measured, stage: str) -> Bool[Tensor, " n"]:
    """Which test images a stage classifies correctly."""
    return measured.predictions[stage] == measured.labels


def losses(found: Findings, seed: int) -> dict[int, Paired]:
    """For every class with test images, what its accuracy has gained from the full network to the last stage."""
    measured = found.measured
    if measured is None or found.final == "full" or found.final not in measured.predictions:
        return {}
    before, after = right_at(measured, "full"), right_at(measured, found.final)
    order = measured.labels.argsort(stable=True)
    groups = torch.split(order, measured.class_counts.tolist())
    return {c: compare_paired(after[rows], before[rows], seed=seed) for c, rows in enumerate(groups) if len(rows)}


def interval_of(percent: float | None, images: int) -> tuple[float, float] | None:
    """Wilson's interval of an accuracy over so many images."""
    if percent is None or not images:
        return None
    low, high = accuracy_intervals(torch.tensor([round(percent * images / 100)]), images)[0].tolist()
    return low, high


def _noise(measured: Measured, mask: Bool[Tensor, "c k"], seed: int, draws: int) -> Noise:
    responses, labels = measured.test.cached_responses()
    found = essentiality(
        responses, labels, *measured.heads["full"], mask, draws=draws, seed=seed, device=measured.subject.device
    )
    percents = {name: 100 * float(rows.sum(1).double().mean()) / len(labels) for name, rows in found.items()}
    return Noise(percents["clean"], percents["others"], percents["selected"], draws)


def _against(measured: Measured, stage: str, seed: int) -> Against:
    mine, full = right_at(measured, stage), right_at(measured, "full")
    paired = compare_paired(mine, full, seed=seed)
    return Against(stage, paired, int((mine & ~full).sum()), int((full & ~mine).sum()))
