"""Many smooth convex problems of one shape, minimised side by side by L-BFGS.

The initial curvature is the problem's own, block by block. The step along a direction is found from slopes alone: near
the optimum they are far more exact in float32 than differences of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import DataError

MEMORY = 12  # pairs of steps and gradient changes that L-BFGS remembers
RENEWED, FALLEN = 6, 0.99  # every so many iterations the curvature is taken anew, if a loss has fallen to that share
FLAT = 0.5  # a step is taken once the slope along it has fallen to this share
MAX_TRIES = 30
ROUNDING = 1e-4  # of losses in float32

Packed = Float[Tensor, "h c m"]


@runtime_checkable
class Problems(Protocol):
    """Problems 0…H-1 with parameters ``(C, M)`` each; ``which`` says of which of them a method speaks."""

    def gradient(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Packed, Float[Tensor, " h"]]:
        """Gradient and loss, in float64."""
        ...

    def curvature(self, packed: Packed, which: Int64[Tensor, " h"]) -> Tensor:
        """For every row of parameters the Cholesky factor ``(M, M)`` of its block of the Hessian, or its diagonal."""
        ...


class Minimum(NamedTuple):
    """Where a problem's search ended: parameters, loss, largest |gradient|, steps taken, and the gradient itself."""

    packed: Float[Tensor, "c m"]
    loss: float
    gradient: float
    steps: int
    slopes: Float[Tensor, "c m"]


class Begun(NamedTuple):
    """Some problems' parameters, and their gradients and losses there."""

    which: Int64[Tensor, " h"]
    packed: Packed
    gradient: Packed
    loss: Float[Tensor, " h"]


def minimise(problems: Problems, start: Packed, tolerance: float, most: int) -> list[Minimum]:
    """Solve every problem from its ``start`` to a gradient max-norm of ``tolerance``, or as far as ``most`` steps lead.

    Those that are done drop out.
    """
    which = torch.arange(len(start), device=start.device)
    return minimise_on(problems, Begun(which, start, *problems.gradient(start, which)), tolerance, most)


def minimise_on(problems: Problems, begun: Begun, tolerance: float, most: int) -> list[Minimum]:
    """``minimise`` of some problems, from where gradients and losses are known."""
    search = _Search(*begun)
    found: dict[int, Minimum] = {}
    for step in range(most):
        if not torch.isfinite(search.loss).all():
            raise DataError("The refit's loss is not finite. Check the weights and the preprocessing.")
        _drop(search, search.gradient.abs().amax((1, 2)) <= tolerance, found, step)
        if not len(search.which):
            break
        if step == 0 or (step % RENEWED == 0 and bool((search.loss < FALLEN * search.renewed).any())):
            search.factors = problems.curvature(search.packed, search.which)
            search.steps, search.changes, search.renewed = [], [], search.loss.clone()
        _drop(search, ~_advance(problems, search), found, step)  # rounding leaves these no slope to follow
    _drop(search, torch.ones_like(search.which, dtype=torch.bool), found, most)
    return [found[number] for number in begun.which.tolist()]


def stacked(minima: Sequence[Minimum]) -> tuple[Packed, Packed, Float[Tensor, " h"]]:
    """Parameters, gradients and losses of all ``minima``."""
    packed = torch.stack([minimum.packed for minimum in minima])
    slopes = torch.stack([minimum.slopes for minimum in minima])
    losses = torch.tensor([minimum.loss for minimum in minima], dtype=packed.dtype, device=packed.device)
    return packed, slopes, losses


@dataclass
class _Search:
    """Where the problems that are not done are: parameters, gradients, losses, past steps, curvature."""

    which: Int64[Tensor, " h"]
    packed: Packed
    gradient: Packed
    loss: Float[Tensor, " h"]
    steps: list[Packed] = field(default_factory=list)
    changes: list[Packed] = field(default_factory=list)
    factors: Tensor | None = None
    renewed: Float[Tensor, " h"] = field(default_factory=lambda: torch.zeros(0))  # losses when those were taken

    def direction(self) -> Packed:
        """L-BFGS's two loops (Nocedal & Wright 2006, algorithm 7.4), with the factors as initial Hessian."""
        towards = self.gradient.clone()
        scales = [1 / _dot(step, change) for step, change in zip(self.steps, self.changes, strict=True)]
        past = list(zip(self.steps, self.changes, scales, strict=True))
        shares = []
        for step, change, scale in reversed(past):
            shares.append(scale * _dot(step, towards))
            towards -= shares[-1][:, None, None] * change
        towards = _solve(self.factors, towards)
        for step, change, scale in past:
            towards += (shares.pop() - scale * _dot(change, towards))[:, None, None] * step
        return -towards


def _dot(a: Packed, b: Packed) -> Float[Tensor, " h"]:
    return (a * b).sum((1, 2))


def _solve(factors: Tensor | None, towards: Packed) -> Packed:
    assert factors is not None
    if factors.dim() == towards.dim():
        return towards / factors
    return torch.cholesky_solve(towards[..., None], factors)[..., 0]


def _drop(search: _Search, these: Bool[Tensor, " h"], found: dict[int, Minimum], steps: int) -> None:
    """Note ``these`` as found and go on with the others."""
    if not these.any():
        return
    largest = search.gradient[these].abs().amax((1, 2)).tolist()
    rows = (search.packed[these], search.loss[these].tolist(), largest, search.gradient[these])
    for number, packed, loss, most, slopes in zip(search.which[these].tolist(), *rows, strict=True):
        found[number] = Minimum(packed, loss, most, steps, slopes)
    others = ~these
    search.which, search.packed, search.gradient = search.which[others], search.packed[others], search.gradient[others]
    search.loss = search.loss[others]
    search.renewed = search.renewed[others] if len(search.renewed) else search.renewed
    search.steps, search.changes = [s[others] for s in search.steps], [c[others] for c in search.changes]
    search.factors = search.factors[others] if search.factors is not None else None


def _advance(problems: Problems, search: _Search) -> Bool[Tensor, " h"]:
    """One step of every problem along its direction: bracket the point where the slope vanishes, and close in on it.

    Convex losses have slopes that grow along a line. Returns which problems could move.
    """
    direction = search.direction()
    slope = _dot(search.gradient, direction)
    before, gradient_before = search.packed.clone(), search.gradient.clone()
    length = torch.ones_like(slope)
    low, low_slope = torch.zeros_like(slope), slope.clone()
    high, high_slope = torch.full_like(slope, torch.inf), torch.zeros_like(slope)
    waiting = torch.ones_like(slope, dtype=torch.bool)
    for _ in range(MAX_TRIES):
        rows = torch.nonzero(waiting)[:, 0]
        tried = before[rows] + length[rows, None, None] * direction[rows]
        gradient, loss = problems.gradient(tried, search.which[rows])
        found = _dot(gradient, direction[rows])
        risen = loss > search.loss[rows] + ROUNDING * (1 + search.loss[rows].abs())
        flat = (found.abs() <= FLAT * slope[rows].abs()) & ~risen
        taken = rows[flat]
        search.packed[taken], search.gradient[taken], search.loss[taken] = tried[flat], gradient[flat], loss[flat]
        waiting[taken] = False
        if not waiting.any():
            break
        short, far = rows[found < 0], rows[found >= 0]
        low[short], low_slope[short] = length[short], found[found < 0]
        high[far], high_slope[far] = length[far], found[found >= 0]
        width = high - low
        crossing = low - low_slope * width / (high_slope - low_slope)
        inside = torch.minimum(torch.maximum(crossing, low + 0.1 * width), low + 0.5 * width)
        length = torch.where(torch.isinf(high), 4 * length, inside)
    search.steps = [*search.steps, search.packed - before][-MEMORY:]
    search.changes = [*search.changes, search.gradient - gradient_before][-MEMORY:]
    return ~waiting
