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


class Bound(NamedTuple):
    """No head with so many filters a class has a ``least`` smaller than this; ``relaxed`` is the least of the hull.

    The bound cannot be better than ``relaxed``: where ``steps`` were too few, it is not as good.
    """

    least: float
    relaxed: float
    steps: int


class _Point(NamedTuple):
    """What one pass tells of a head: cross-entropy, its slopes, the mean share of each class, mean entropy."""

    loss: float
    slope: Float[Tensor, "p k"]
    shares: Float[Tensor, " p"]
    entropy: float
    curvature: Float[Tensor, "p k"] | None


def objective(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], head: Head, l2: float) -> float:
    """Mean cross-entropy + (l2/2)·ΣW² over the classes that have images, as the refit has it, in float64."""
    present = labels.unique()
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
        self.present, self.labels = labels.unique(return_inverse=True)
        self.sizes = sizes[self.present].clamp(max=responses.shape[1])[:, None]
        self.mean = sum(part.double().sum(0) for part in torch.split(responses, IMAGES)) / len(labels)
        self.portions = torch.bincount(self.labels).double() / len(labels)
        sums = torch.zeros(len(self.present), responses.shape[1], dtype=torch.float64)
        for rows, truth in self._parts(torch.float64):
            sums.index_add_(0, truth, rows)
        self.class_sums = sums / len(labels)

    def _parts(self, dtype: torch.dtype) -> Iterator[tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]]:
        for rows, truth in zip(torch.split(self.responses, IMAGES), torch.split(self.labels, IMAGES), strict=True):
            yield rows.to(dtype) - self.mean.to(dtype), truth

    def loss(self, weight: Tensor, bias: Tensor) -> float:
        """Mean cross-entropy."""
        total = 0.0
        for rows, truth in self._parts(torch.float32):
            total += F.cross_entropy(F.linear(rows, weight.float(), bias.float()), truth, reduction="sum").item()
        return total / len(self.labels)

    def look(self, weight: Tensor, bias: Tensor, dtype: torch.dtype = torch.float32, curved: bool = False) -> _Point:
        """One pass over the images."""
        slope = torch.zeros_like(self.class_sums)
        curvature = torch.zeros_like(slope) if curved else None
        shares = torch.zeros_like(self.portions)
        loss = entropy = 0.0
        for rows, truth in self._parts(dtype):
            logits = F.linear(rows, weight.to(dtype), bias.to(dtype))
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
        bias = head.bias[self.present].double().cpu() + weight @ self.mean
        ahead, ahead_bias, speed, steep = weight, bias, 1.0, 1.0
        point = self.look(weight, bias, curved=True)
        assert point.curvature is not None
        curvature = point.curvature.clamp(min=FLATTEST)
        of_bias = (self.portions * (1 - self.portions)).clamp(min=FLATTEST)
        least, best, relaxed, taken = self.bound(point), (weight, bias), torch.inf, 0
        while taken < steps:
            while True:
                scale, bias_scale = steep * curvature, steep * of_bias
                rise = point.shares - self.portions
                step, norm = self.nearest(ahead - point.slope / scale, scale)
                step_bias = ahead_bias - rise / bias_scale
                moved, shifted = step - ahead, step_bias - ahead_bias
                loss = self.loss(step, step_bias)
                model = point.loss + ((point.slope + scale / 2 * moved) * moved).sum().item()
                model += ((rise + bias_scale / 2 * shifted) * shifted).sum().item()
                if loss <= model + SLACK or steep > 1e6:
                    break
                steep *= 1.5
            taken, relaxed = taken + 1, min(relaxed, loss + norm)
            back = ((scale * moved) * (step - weight)).sum() < 0
            faster = 1.0 if back else (1 + (1 + 4 * speed**2) ** 0.5) / 2
            pace = 0.0 if back else (speed - 1) / faster
            ahead, ahead_bias = step + pace * (step - weight), step_bias + pace * (step_bias - bias)
            weight, bias, speed = step, step_bias, faster
            point = self.look(ahead, ahead_bias)
            found = self.bound(point)
            if found > least:
                least, best = found, (ahead, ahead_bias)
            if relaxed - least <= CLOSE * relaxed:
                break
        exact = self.bound(self.look(*best, dtype=torch.float64))
        return Bound(max(exact, 0.0), relaxed, taken)
