"""Refit: fit decomposed heads alone on cached responses, the backbone frozen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import CPU, brought, exact_device
from ..networks.head import Head
from ..selections.form import HeadForm
from ._lbfgs import Minimum, Problems, minimise
from ._objective import LARGEST, HeadProblems
from .form import FormedProblems, Scale

L2 = 1e-4
GRADIENT_TOLERANCE = 1e-5
ROUNDING = 0.9  # share of the tolerance to reach in float32, so that the gradient in float64 keeps to it too
# Trained networks' heads take some 20 steps; where large or nearly equal responses drown slopes in rounding, float32
# wanders. Heads that cannot be fitted (of an untrained network, say) may not take minutes to show it.
MOST_STEPS, ROUGH_STEPS, LEAST_STEPS = 2000, 100, 100
WORK = 2**37  # images × classes × filters × steps


@dataclass(frozen=True)
class Refit:
    """A refitted ``head``, zero outside the mask; ``gradient`` is the largest |gradient| where it stopped."""

    head: Head
    loss: float
    gradient: float
    steps: int


def refit(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    mask: Bool[Tensor, "c k"],
    *,
    l2: float = L2,
    tolerance: float = GRADIENT_TOLERANCE,
    device: torch.device = CPU,
) -> Refit:
    """Minimise mean cross-entropy + (l2/2)·ΣW² over the masked weights and free biases (docs/mathematics.md, Refit).

    The penalty is as given; ``penalty.fit`` chooses it. Starts from ``weight`` and ``bias``; full-batch L-BFGS to a
    gradient max-norm of ``tolerance``, with a warning where it is not reached in 2,000 steps, or fewer (but 100) where
    one is costly. Classes without images keep their rows as they are. Responses are read in chunks, so a memory map of
    any length will do. All is computed on ``device``, or on the CPU where that has no float64; the head comes back on
    the CPU.
    """
    return refit_all(responses, labels, weight, bias, mask[None], l2=l2, tolerance=tolerance, device=device)[0]


def refit_all(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    masks: Bool[Tensor, "h c k"],
    *,
    l2: float | Sequence[float] = L2,
    tolerance: float = GRADIENT_TOLERANCE,
    start: Sequence[Head] | None = None,
    form: HeadForm = "real",
    device: torch.device = CPU,
) -> list[Refit]:
    """``refit`` with every mask, side by side: many times faster than one after the other.

    ``l2`` may be each head's own, ``start`` a head for each to start from. In another ``form`` than real the minimum is
    that among heads of the form with the signs of ``start``. Time grows with heads · N · C · K, or, where the widest
    class has few filters (m, docs/cost.md), heads · N · C · (m + 1); memory does not grow beyond that of a group of
    heads.
    """
    scale = Scale.of(responses) if form != "real" else None
    penalties = [l2] * len(masks) if isinstance(l2, int | float) else list(l2)
    device = exact_device(device)
    responses = brought(responses, device)
    found: dict[int, Refit] = {}
    for group in groups_of(masks, labels):
        own = [penalties[number] for number in group]
        problems = HeadProblems(responses, labels, weight, bias, masks[group], own, device=device)
        begun = [Head(weight, bias) if start is None else start[number] for number in group]
        formed = FormedProblems(problems, begun, form, scale) if scale is not None else None
        begin = problems.pack(begun) if formed is None else formed.started
        minima = _solve(problems, problems if formed is None else formed, begin, tolerance)
        which = torch.arange(len(group)).to(device)
        packed = torch.stack([minimum.packed for minimum in minima])
        fitted = problems.heads(packed if formed is None else formed.expand(packed, which), which)
        for number, minimum, head in zip(group, minima, fitted, strict=True):
            found[number] = Refit(head, minimum.loss, minimum.gradient, minimum.steps)
    _warn(list(found.values()), tolerance)
    return [found[number] for number in range(len(masks))]


def heads_at_once(classes: int, filters: int) -> int:
    """How many heads of that size may be there side by side."""
    return max(1, LARGEST // (4 * classes * filters))


def groups_of(masks: Bool[Tensor, "h c k"], labels: Int64[Tensor, " n"]) -> list[list[int]]:
    """Heads of like width together; neither their weights nor their curvature may outgrow the limit.

    Width and curvature are those of the classes that have images.
    """
    present = torch.unique(labels).to(masks.device)
    widths = masks[:, present].sum(2).amax(1).cpu()
    waiting = widths.argsort(stable=True).tolist()
    groups = []
    while waiting:
        group = waiting[: heads_at_once(*masks.shape[1:])]
        while len(group) > 1 and len(group) * len(present) * (int(widths[group[-1]]) + 1) ** 2 > LARGEST:
            group = group[: (len(group) + 1) // 2]
        groups.append(group)
        waiting = waiting[len(group) :]
    return groups


def _solve(heads: HeadProblems, problems: Problems, start: Float[Tensor, "h p m1"], tolerance: float) -> list[Minimum]:
    """The minima of ``problems``, which are about ``heads``, to ``tolerance`` in float64.

    float32 is faster, and nearly always gets there.
    """
    most = min(MOST_STEPS, max(LEAST_STEPS, WORK // heads.work))
    rough = minimise(problems, start, ROUNDING * tolerance, min(ROUGH_STEPS, most))
    heads.dtype = torch.float64
    reached = torch.stack([minimum.packed for minimum in rough])
    lost = [number for number, minimum in enumerate(rough) if minimum.gradient > tolerance]
    if lost:  # rounding may have led it astray
        which = torch.tensor(lost, device=start.device)
        worse = which[problems.gradient(reached[which], which)[1] >= problems.gradient(start[which], which)[1]]
        reached[worse] = start[worse]
    exact = minimise(problems, reached, tolerance, most)
    return [last._replace(steps=first.steps + last.steps) for first, last in zip(rough, exact, strict=True)]


def _warn(found: list[Refit], tolerance: float) -> None:
    worst = max(found, key=lambda one: one.gradient, default=None)
    if worst is not None and worst.gradient > tolerance:
        warnings.warn(
            f"The refit stopped after {worst.steps} steps at a gradient of {worst.gradient:.1e}, "
            f"above {tolerance:.0e}.",
            stacklevel=3,
        )
