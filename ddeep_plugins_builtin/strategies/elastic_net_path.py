"""The elastic-net path of a multinomial head: proximal Newton steps on the filters that may enter, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

ALPHA = 0.99  # share of L1 in the penalty, as in Wong et al.
RATIO = 0.8  # from one λ of the path to the next
SHALLOWEST = 1e-3  # of the largest λ: where the path ends, as in Wong et al.
TOLERANCE = 1e-3  # of λ: how far from optimal a head that is used may be
ROUGH = 0.05  # and those on the way to it
NOTHING = 1e-6  # a slope, of standardised responses, that is but rounding
MOST_STEPS, MOST_SWEEPS = 50, 20
HEAVY = 2  # times the mean: the images whose curvature counts one by one
EXACT = 2**24  # images × filters × classes up to which float64 costs no time to speak of

Table = Float[Tensor, "p k1"]


@dataclass(frozen=True, eq=False)
class Fit:
    """The head at one λ: ``weight`` of standardised responses, ``slope`` the gradient of the mean cross-entropy.

    Both have the biases last. ``residual`` is the largest violation of the conditions of optimality (Karush, Kuhn,
    Tucker), as a share of α·λ.
    """

    strength: float
    weight: Table
    slope: Table
    residual: float

    @property
    def least(self) -> int:
        """How many non-zero weights every class has at least."""
        return int((self.weight[:, :-1] != 0).sum(1).min())


def path(inputs: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Iterator[Step]:
    """The way to the heads that minimise mean cross-entropy + λ Σ(α·|w| + (1 - α)/2·w²), biases free.

    λ falls by a fifth a time.

    The algorithm of glmnet (Friedman, Hastie & Tibshirani, J. Stat. Software 33(1), 2010, section 4), all classes at
    once: quadratic model, coordinate descent on it, warm starts. Only weights that the strong rule lets in take part
    (Tibshirani et al., J. Royal Statistical Society B 74(2), 2012, equation 5), and those that violate the optimality
    conditions, which are checked for all after every step. Heads are found roughly: ``Step.fit`` goes on to that of a
    λ that is wanted. Without variation nothing is yielded.

    A step costs about 4NKC + 2N·Σ_c m_c² operations, m_c the weights of class c that take part; memory is that of the
    inputs, C·max(m)², and three tables (N, C).
    """
    problem = Problem.of(inputs, labels)
    point = problem.at(problem.start())
    strength = point.slope[:, :-1].abs().max().item() / ALPHA
    least = max(SHALLOWEST * strength, NOTHING)
    while strength > least:
        bound = ALPHA * (2 * RATIO - 1) * strength
        strength *= RATIO
        point = solve(problem, point, strength, point.slope.abs() > bound, ROUGH)
        yield Step(problem, point, strength)


@dataclass(frozen=True, eq=False)
class Point:
    """A head, its probabilities, mean cross-entropy and the gradient of that."""

    weight: Table
    shares: Float[Tensor, "p n"]
    loss: float
    slope: Table

    def objective(self, strength: float) -> float:
        """What the path minimises."""
        return self.loss + penalty(self.weight, strength)


@dataclass(frozen=True, eq=False)
class Step:
    """A λ of the path, its head found roughly."""

    problem: Problem
    point: Point
    strength: float

    @property
    def possible(self) -> Bool[Tensor, "p k"]:
        """The weights that may turn out not to be zero: those that are not, and those about to leave it."""
        near = self.point.slope.abs() > (1 - ROUGH) * ALPHA * self.strength
        return ((self.point.weight != 0) | near)[:, :-1]

    def fit(self) -> Fit:
        """The head at this λ."""
        point = solve(self.problem, self.point, self.strength, self.point.weight != 0)
        return Fit(self.strength, point.weight, point.slope, residual(point, self.strength))


@dataclass(frozen=True, eq=False)
class Problem:
    """``rows`` are the inputs of every image, then a one; ``gram`` the mean of their outer products."""

    rows: Float[Tensor, "n k1"]
    labels: Int64[Tensor, " n"]
    classes: int
    gram: Float[Tensor, "k1 k1"]

    @classmethod
    def of(cls, inputs: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Problem:
        classes = int(labels.max()) + 1
        rows = F.pad(inputs.double() if inputs.numel() * classes <= EXACT else inputs, (0, 1), value=1.0)
        return cls(rows, labels, classes, rows.T @ rows / len(rows))

    def among(self, columns: Int64[Tensor, " m"]) -> Problem:
        """The same problem with some of the filters alone; ``columns`` ends with that of ones."""
        gram = self.gram[columns[:, None], columns]
        return Problem(self.rows[:, columns].contiguous(), self.labels, self.classes, gram)

    def start(self) -> Table:
        """No weights: the biases are the logarithms of the classes' shares of the images."""
        weight = self.rows.new_zeros(self.classes, self.rows.shape[1])
        weight[:, -1] = (torch.bincount(self.labels) / len(self.labels)).log()
        return weight

    def at(self, weight: Table) -> Point:
        """Loss and gradient of a head."""
        logits = weight @ self.rows.T
        total = logits.logsumexp(0)
        loss = (total - logits.gather(0, self.labels[None])[0]).mean(dtype=torch.float64).item()
        shares = logits.sub_(total).exp_()
        error = shares.scatter_add(0, self.labels[None], self.rows.new_full((1, len(self.rows)), -1.0))
        return Point(weight, shares, loss, error @ self.rows / len(self.rows))

    def curvature(
        self, shares: Float[Tensor, "p n"], places: Int64[Tensor, "p m"], real: Bool[Tensor, "p m"]
    ) -> Float[Tensor, "p m m"]:
        """For every class a stand-in for its block of the Hessian, and no less, among the weights at ``places``.

        An image's Hessian among logits, diag(p) - ppᵀ, is at most diag(p), and at most diag(2p(1 - p)), it being
        dominated by its diagonal: the latter serves where one class has more than half. Images of less than ``HEAVY``
        times the mean enter by the Gram matrix, with the mean of their own. Rows and columns that are not ``real`` are
        those of the identity.
        """
        likely = shares.amax(0) > 0.5
        table = self.rows.new_zeros(*places.shape, places.shape[1])
        for c, (own, share) in enumerate(zip(places, shares, strict=True)):
            mine = own[real[c]]
            spread = torch.where(likely, 2 * share * (1 - share), share)
            heavy = torch.nonzero(spread > HEAVY * spread.mean())[:, 0]
            light = (spread.sum() - spread[heavy].sum()) / max(1, len(spread) - len(heavy))
            part = self.rows[heavy[:, None], mine]
            block = part.T @ (part * (spread[heavy] - light)[:, None]) / len(self.rows)
            table[c, : len(mine), : len(mine)] = block + light * self.gram[mine[:, None], mine]
        return table + torch.diag_embed((~real).to(table.dtype))


def residual(point: Point, strength: float) -> float:
    """The largest violation of the optimality conditions, in units of α·λ."""
    return violations(point, strength).max().item() / (ALPHA * strength)


def violations(point: Point, strength: float) -> Table:
    """How far the slopes are from what optimality asks: the penalty's own, at most α·λ for zeros, none for biases."""
    inner = point.slope + strength * ((1 - ALPHA) * point.weight + ALPHA * point.weight.sign())
    outer = (point.slope.abs() - ALPHA * strength).clamp(min=0)
    found = torch.where(point.weight != 0, inner.abs(), outer)
    found[:, -1] = point.slope[:, -1].abs()
    return found


def penalty(weight: Table, strength: float) -> float:
    """λ Σ(α·|w| + (1 - α)/2·w²), the biases left out."""
    inner = weight[:, :-1].double()
    return strength * (ALPHA * inner.abs().sum() + (1 - ALPHA) / 2 * inner.square().sum()).item()


def solve(
    problem: Problem, point: Point, strength: float, active: Bool[Tensor, "p k1"], tolerance: float | None = None
) -> Point:
    """The minimum at ``strength``, from ``point``, among weights that are ``active`` or turn out to violate.

    Every step goes on a bit in the direction of the last (Nesterov's momentum), and starts anew where that is no lower.
    """
    active = active | (point.weight != 0)
    active[:, -1] = True
    last, pace = point.weight, 1.0
    enough = (TOLERANCE if tolerance is None else tolerance) * ALPHA * strength
    for _ in range(MOST_STEPS):
        wrong = violations(point, strength)
        worst = wrong.max().item()
        if worst <= enough:
            break
        active |= wrong > 0
        target = centred(Model.of(problem, point, active).minimum(point, strength, worst / 10))
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = target + (pace - 1) / faster * (target - last) * (target != 0)
        trial = problem.at(ahead)
        last, pace = target, faster
        if trial.objective(strength) > point.objective(strength):
            found, pace = search(problem, point, target, strength), 1.0
            if found is None:
                break  # rounding: there is no lower point to be found
            trial, last = found, found.weight
        point = trial
    return point


def centred(weight: Table) -> Table:
    """With each filter's weights moved alike to where the penalty is least; no probability changes.

    Steps class by class would take long to get there. Of P weights of mean m it is the median of them and of
    m + α(P - 2i) / ((1 - α)P), i from 0 to P (Li & Osher, Communications in Pure and Applied Analysis 8(2), 2009).
    """
    inner, classes = weight[:, :-1], len(weight)
    often = torch.nonzero(2 * (inner != 0).sum(0) >= classes)[:, 0]  # else the median is 0
    bends = ALPHA / (1 - ALPHA) * torch.linspace(1, -1, classes + 1, dtype=weight.dtype, device=weight.device)
    values = inner[:, often]
    moved = weight.clone()
    moved[:, often] -= torch.cat([values, values.mean(0) + bends[:, None]]).median(0).values
    return moved


def search(problem: Problem, point: Point, target: Table, strength: float) -> Point | None:
    """The first point on the way back from ``target`` that is low enough (Armijo's rule); None if there is none."""
    objective, step = point.objective(strength), target - point.weight
    promised = (point.slope * step).sum(dtype=torch.float64).item()
    promised += penalty(target, strength) - penalty(point.weight, strength)
    rounding = objective * torch.finfo(step.dtype).eps
    size = 1.0
    while size > 1e-2:
        trial = problem.at(torch.lerp(point.weight, target, size) if size < 1 else target)
        if trial.objective(strength) <= objective + 0.1 * size * promised + rounding:
            return trial
        size /= 2
    return None


@dataclass(frozen=True, eq=False)
class Model:
    """The quadratic model of the loss among each class's active weights, at ``places``; padded to the longest."""

    places: Int64[Tensor, "p m"]
    real: Bool[Tensor, "p m"]
    curvature: Float[Tensor, "p m m"]

    @classmethod
    def of(cls, problem: Problem, point: Point, active: Bool[Tensor, "p k1"]) -> Model:
        places = active.byte().argsort(dim=1, descending=True, stable=True)[:, : int(active.sum(1).max())]
        real = active.gather(1, places)
        return cls(places, real, problem.curvature(point.shares, places, real))

    def minimum(self, point: Point, strength: float, enough: float) -> Table:
        """Where the model and the penalty together are least: by coordinates, all classes side by side.

        Up to a sweep that changes no slope by more than ``enough``: the model is no nearer to the loss than its head.
        """
        weight = point.weight.gather(1, self.places)
        slope = point.slope.gather(1, self.places) * self.real
        free = self.places == point.weight.shape[1] - 1
        absolute = torch.where(free, 0.0, ALPHA * strength).to(weight.dtype)
        diagonal = self.curvature.diagonal(dim1=1, dim2=2)
        whole = diagonal + torch.where(free, 0.0, (1 - ALPHA) * strength)
        whole = whole.clamp(min=torch.finfo(weight.dtype).tiny)
        columns = list(
            zip(*(table.unbind(1) for table in (weight, slope, diagonal, absolute, whole, self.curvature)), strict=True)
        )
        for _ in range(MOST_SWEEPS):
            before = weight.clone()
            for own, tilt, bend, bound, all_bend, row in columns:  # views: what changes is in weight and slope, too
                alone = torch.addcmul(tilt, own, bend, value=-1)  # the slope were this weight 0
                found = alone.clamp(-bound, bound).sub_(alone).div_(all_bend)
                change = found - own
                own.copy_(found)
                slope.addcmul_(row, change[:, None])
            if ((weight - before).abs() * whole).max() <= enough:
                break
        return torch.zeros_like(point.weight).scatter(1, self.places, weight * self.real)
