"""How small the refit's loss can be with so few filters a class: a lower bound that holds for every selection.

With ``conj`` the conjugate of the cross-entropy, weak duality gives for any shares p (N, P) of the classes that leave
each as large on average as its images are

    min over heads of k filters a class  ≥  mean entropy of p_n  -  Σ_c (sum of the k largest g_cj²) / (2 l2),

g = (1/N) Σ_n (p_n - y_n) r_nᵀ: a class's best k filters against a linear loss are those of the largest g_cj², whichever
they are (docs/mathematics.md, Bound). The largest such bound is the minimum of the convex hull of the problem, class by
class: the loss plus l2/2 times the squared k-support norm of each row. That is what is minimised here, and every step's
softmax gives a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..networks.head import Head
from ._objective import IMAGES

STEPS = 300
CLOSE = 0.003  # of the relaxed loss: the bound is as good as it can be, but for so much
HALVINGS = 50  # of the interval that holds a row's threshold
FLATTEST = 1e-8  # least curvature
SLACK = 1e-7  # rounding of a loss
STEEPEST = 1e6  # a scale that only rounding asks for


class Bound(NamedTuple):
    """No head with so many filters a class has a ``least`` smaller than this; ``relaxed`` is the least of the hull.

    The bound cannot be better than ``relaxed``: where ``steps`` were too few, it is not as good.
    """

    least: float
    relaxed: float
    steps: int


class _Head(NamedTuple):
    """Weights and biases of the classes present, for centred filters; or the scales that steps of them have."""

    weight: Float[Tensor, "p k"]
    bias: Float[Tensor, " p"]


class _Point(NamedTuple):
    """What one pass tells of a head: cross-entropy, its slopes, the mean share of each class, mean entropy."""

    loss: float
    slope: Float[Tensor, "p k"]
    shares: Float[Tensor, " p"]
    entropy: float
    curvature: Float[Tensor, "p k"] | None


def objective(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], head: Head, l2: float) -> float:
    """Mean cross-entropy + (l2/2)·ΣW² over the classes that have images, as the refit has it, in float64."""
    present = torch.unique(labels)
    loss = 0.0
    for rows, truth in zip(torch.split(responses, IMAGES), torch.split(labels, IMAGES), strict=True):
        logits = F.linear(rows.double(), head.weight.double(), head.bias.double())
        loss += F.cross_entropy(logits, truth, reduction="sum").item()
    return loss / len(labels) + l2 / 2 * head.weight[present].double().square().sum().item()


def lower_bound(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    start: Head,
    sizes: Int64[Tensor, " c"],
    l2: float,
    *,
    steps: int = STEPS,
) -> Bound:
    """A bound on ``objective`` over all heads whose class c has ``sizes[c]`` filters at most, whatever their biases.

    Classes without images are left out, which lowers the loss. ``start`` is any head; a good one saves steps. Proximal
    gradient steps with momentum (FISTA), on each weight's own scale, until the bound is within 0.3 % of what it can
    be. Three products (N, C, K) a step. ``steps`` are the most; the bound holds after any number.
    """
    relaxation = _Relaxation(responses, labels, sizes, l2)
    if len(relaxation.present) < 2:
        return Bound(0.0, 0.0, 0)
    return relaxation.solve(start, steps)


class _Relaxation:
    """The hull of the problem, over the classes present and centred filters."""

    def __init__(
        self, responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], sizes: Int64[Tensor, " c"], l2: float
    ) -> None:
        self.responses, self.l2 = responses, l2
        self.present, self.labels = torch.unique(labels, return_inverse=True)
        self.sizes = sizes[self.present].clamp(max=responses.shape[1])[:, None]
        self.mean = torch.stack([part.double().sum(0) for part in torch.split(responses, IMAGES)]).sum(0) / len(labels)
        self.portions = torch.bincount(self.labels).double() / len(labels)
        sums = torch.zeros(len(self.present), responses.shape[1], dtype=torch.float64)
        for rows, truth in self._parts(torch.float64):
            sums.index_add_(0, truth, rows)
        self.class_sums = sums / len(labels)

    def _parts(self, dtype: torch.dtype) -> Iterator[tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]]:
        for rows, truth in zip(torch.split(self.responses, IMAGES), torch.split(self.labels, IMAGES), strict=True):
            yield rows.to(dtype) - self.mean.to(dtype), truth

    def loss(self, head: _Head) -> float:
        """Mean cross-entropy."""
        weight, bias = head.weight.float(), head.bias.float()
        total = 0.0
        for rows, truth in self._parts(torch.float32):
            total += F.cross_entropy(F.linear(rows, weight, bias), truth, reduction="sum").item()
        return total / len(self.labels)

    def look(self, head: _Head, dtype: torch.dtype = torch.float32, curved: bool = False) -> _Point:
        """One pass over the images."""
        weight, bias = head.weight.to(dtype), head.bias.to(dtype)
        slope = torch.zeros_like(self.class_sums)
        curvature = torch.zeros_like(slope) if curved else None
        shares = torch.zeros_like(self.portions)
        loss = entropy = 0.0
        for rows, truth in self._parts(dtype):
            logits = F.linear(rows, weight, bias)
            found = logits.softmax(1)
            loss += F.cross_entropy(logits, truth, reduction="sum").item()
            entropy += torch.special.entr(found).sum().item()
            shares += found.sum(0)
            slope += found.T @ rows
            if curvature is not None:
                curvature += (found * (1 - found)).T @ rows.square()
        number = len(self.labels)
        curved_by = None if curvature is None else curvature / number
        return _Point(loss / number, slope / number - self.class_sums, shares / number, entropy / number, curved_by)

    def bound(self, point: _Point) -> float:
        """What the softmax of a head proves.

        Its shares p become (1 - t)·p + t·q, q the same for all images, so that every class has on average what its
        images are; entropy is concave, so that of the mixture is no less than the mixture of both.
        """
        ratio = ((point.shares - self.portions) / self.portions).max().clamp(min=0).item()
        t = ratio / (1 + ratio)
        others = (self.portions - (1 - t) * point.shares).clamp(min=0)
        entropy = (1 - t) * point.entropy
        if t > 0:
            entropy += torch.special.entr(others).sum().item() + t * torch.tensor(t).double().log().item()
        # Centred filters have a mean of 0, so q adds nothing to the slope.
        slope = (1 - t) * (point.slope + self.class_sums) - self.class_sums
        largest = slope.square().sort(1, descending=True).values.cumsum(1).gather(1, self.sizes - 1)
        return entropy - largest.sum().item() / (2 * self.l2)

    def nearest(self, towards: Float[Tensor, "p k"], scale: Float[Tensor, "p k"]) -> tuple[Tensor, float]:
        """The proximal step: argmin Σ scale·(w - towards)²/2 + l2/2·norm², and l2/2·norm² there.

        The norm is the k-support norm, norm² = min Σ w²/θ over 0 ≤ θ ≤ 1, Σθ ≤ k (Argyriou, Foygel & Srebro, NIPS
        2012); then w = towards·θ/(θ + μ), μ = l2/scale, and θ = |towards|/τ - μ, cut to 0…1, with τ such that Σθ = k.
        """
        size, own = towards.abs(), self.l2 / scale
        low, high = torch.zeros_like(size[:, :1]), (size / own).amax(1, keepdim=True).clamp(min=1e-30)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            many = (size / middle - own).clamp(0, 1).sum(1, keepdim=True) > self.sizes
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
        theta = (size / high - own).clamp(0, 1)
        weight = towards * theta / (theta + own)
        terms = torch.where(theta > 0, weight.square() / theta.clamp(min=1e-30), 0.0)
        return weight, self.l2 / 2 * terms.sum().item()

    def solve(self, head: Head, steps: int) -> Bound:
        """FISTA with backtracking, and restarts where momentum leads back (O'Donoghue & Candès, 2015)."""
        weight = head.weight[self.present].double().cpu()
        at = ahead = _Head(weight, head.bias[self.present].double().cpu() + weight @ self.mean)
        point = self.look(ahead, curved=True)
        assert point.curvature is not None
        scale = _Head(point.curvature.clamp(min=FLATTEST), (self.portions * (1 - self.portions)).clamp(min=FLATTEST))
        least, best, relaxed, speed, taken = self.bound(point), ahead, torch.inf, 1.0, 0
        while taken < steps and (not taken or relaxed - least > CLOSE * relaxed):
            step, total, scale = self.step(ahead, point, scale)
            taken, relaxed = taken + 1, min(relaxed, total)
            back = (scale.weight * (step.weight - ahead.weight) * (step.weight - at.weight)).sum() < 0
            faster = 1.0 if back else (1 + (1 + 4 * speed**2) ** 0.5) / 2
            pace = 0.0 if back else (speed - 1) / faster
            ahead = _Head(*(new + pace * (new - old) for new, old in zip(step, at, strict=True)))
            at, speed = step, faster
            point = self.look(ahead)
            found = self.bound(point)
            least, best = (found, ahead) if found > least else (least, best)
        exact = self.bound(self.look(best, dtype=torch.float64))
        return Bound(max(exact, 0.0), relaxed, taken)

    def step(self, ahead: _Head, point: _Point, scale: _Head) -> tuple[_Head, float, _Head]:
        """One proximal step from ``ahead``, the objective there, and the scale, grown until the step keeps its word."""
        rise = point.shares - self.portions
        while True:
            weight, norm = self.nearest(ahead.weight - point.slope / scale.weight, scale.weight)
            step = _Head(weight, ahead.bias - rise / scale.bias)
            moved, shifted = step.weight - ahead.weight, step.bias - ahead.bias
            model = point.loss + ((point.slope + scale.weight / 2 * moved) * moved).sum().item()
            model += ((rise + scale.bias / 2 * shifted) * shifted).sum().item()
            loss = self.loss(step)
            if loss <= model + SLACK or scale.bias.min() > STEEPEST:
                return step, loss + norm, scale
            scale = _Head(1.5 * scale.weight, 1.5 * scale.bias)
