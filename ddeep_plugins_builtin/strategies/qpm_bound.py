"""How good the best solution of QPM's quadratic program can be: a Lagrangian bound, and the exact program if small."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from torch import Tensor

from .qpm_problem import Problem, twins

STEPS = 400
PATIENCE = 20  # steps without a better bound before steps are halved
MOST_VARIABLES = 5_000  # of the exact program
SECONDS = 20.0
TIME_UP = 1  # scipy's status of a program that was stopped


def lagrangian(problem: Problem, reached: float) -> float:
    """An upper bound of the objective, no selection of filters being alike or not; ``reached`` is a lower one.

    Classes' demand for k filters is relaxed with prices u_c (Cornuéjols, Fisher & Nemhauser, Management Science 23(8),
    1977): the objective is at most kΣ_c u_c + Σ_{j in pool} Σ_c max(0, gain_cj - u_c) - redundancy. And redundancy,
    s·cost·s / 2 for s of zeros and ones, is s·(cost + D)s / 2 - D·s / 2, which for a D that makes it convex is no less
    than its tangent at any t. Together that is linear in s, so that its largest value is that of ``size`` filters.
    Prices by subgradient steps, t the running mean of the s found; every step gives a bound, the least is returned.
    Time 2·C·K a step.
    """
    gain, k, size = problem.gain, problem.k, problem.size
    curve = max(0.0, -torch.linalg.eigvalsh(problem.cost)[0].item())
    prices = gain[:, problem.pool].topk(k).values[:, -1].clone()
    tangent = problem.pool.double()
    least, scale, waited = torch.inf, 1.0, 0
    for step in range(STEPS):
        slope = problem.cost @ tangent + curve * tangent
        offset = (tangent @ slope).item() / 2
        surplus = (gain - prices[:, None]).clamp(min=0)
        worth = surplus.sum(0) - slope + curve / 2
        best = worth.topk(size)
        bound = k * prices.sum().item() + best.values.sum().item() + offset
        waited = 0 if bound < least - 1e-9 else waited + 1
        least = min(least, bound)
        if waited > PATIENCE:
            scale, waited = scale / 2, 0
        demand = k - (surplus[:, best.indices] > 0).sum(1).double()
        norm = demand.square().sum().item()
        if norm > 0:
            prices = prices - scale * max(bound - reached, 1e-9) / norm * demand
        found = torch.zeros_like(tangent)
        found[best.indices] = 1.0
        tangent = tangent + 2 / (step + 3) * (found - tangent)
    return least


class Solution(NamedTuple):
    """A pool and each class's filters, None where none was found in time, and an upper bound of the objective.

    ``stopped`` says that time was up before the solver was done.
    """

    pool: Bool[Tensor, " k"] | None
    chosen: Bool[Tensor, "p k"] | None
    bound: float
    stopped: bool


def exact(problem: Problem) -> Solution | None:
    """The mixed-integer program by HiGHS, within 20 seconds; None where it has more than 5,000 variables.

    s_j says whether filter j is in the pool, x_cj ≤ s_j whether class c has it, y_ij ≥ s_i + s_j - 1 that both are.
    A set that several classes are found to have is allowed to one of them, and it is solved again.
    """
    program = Program(problem)
    if program.variables > MOST_VARIABLES:
        return None
    started = time.monotonic()
    while True:
        found = program.solve(max(1.0, SECONDS - (time.monotonic() - started)))
        if found.chosen is None or not (alike := twins(found.chosen)):
            return found
        if time.monotonic() - started > SECONDS:
            return found._replace(pool=None, chosen=None, stopped=True)
        for row in {tuple(found.chosen[c].tolist()) for c in alike}:
            program.allow_once([j for j, used in enumerate(row) if used])


class Program:
    """The variables in the order s (K), x (C·K), y (pairs); constraints as rows of (variables, factors, low, high)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.classes, self.filters = problem.gain.shape
        self.pairs = torch.nonzero(problem.cost.triu() > 0).tolist()
        self.variables = self.filters * (1 + self.classes) + len(self.pairs)
        self.rows: list[tuple[list[int], list[float], float, float]] = []
        self.add(list(range(self.filters)), problem.size, problem.size)
        for c in range(self.classes):
            self.add([self.x(c, j) for j in range(self.filters)], problem.k, problem.k)
            for j in range(self.filters):
                self.rows.append(([self.x(c, j), j], [1.0, -1.0], -np.inf, 0.0))
        first = self.filters * (1 + self.classes)
        for number, (i, j) in enumerate(self.pairs):
            self.rows.append(([i, j, first + number], [1.0, 1.0, -1.0], -np.inf, 1.0))

    def x(self, c: int, j: int) -> int:
        """The variable for class ``c`` having filter ``j``."""
        return self.filters * (1 + c) + j

    def add(self, variables: list[int], low: int, high: int) -> None:
        """The sum of ``variables`` lies between ``low`` and ``high``."""
        self.rows.append((variables, [1.0] * len(variables), float(low), float(high)))

    def allow_once(self, own: list[int]) -> None:
        """No two classes have the filters ``own``."""
        for c in range(self.classes):
            for d in range(c):
                self.add([self.x(a, j) for a in (c, d) for j in own], 0, 2 * len(own) - 1)

    def solve(self, seconds: float) -> Solution:
        """The best found within ``seconds``, and the bound reached by then."""
        counts = [len(row[0]) for row in self.rows]
        places = np.repeat(np.arange(len(self.rows)), counts), np.concatenate([row[0] for row in self.rows])
        factors = np.concatenate([row[1] for row in self.rows])
        matrix = coo_array((factors, places), shape=(len(self.rows), self.variables)).tocsr()
        cost = np.zeros(self.variables)
        cost[self.filters : self.filters * (1 + self.classes)] = -self.problem.gain.flatten().numpy()
        cost[self.filters * (1 + self.classes) :] = [self.problem.cost[i, j].item() for i, j in self.pairs]
        whole = np.arange(self.variables) < self.filters * (1 + self.classes)
        answer = milp(
            cost,
            integrality=whole.astype(int),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, [row[2] for row in self.rows], [row[3] for row in self.rows]),
            options={"time_limit": seconds},
        )
        bound = np.inf if answer.mip_dual_bound is None else -answer.mip_dual_bound
        stopped = answer.status == TIME_UP
        if answer.x is None:
            return Solution(None, None, float(bound), stopped)
        values = torch.from_numpy(answer.x[: self.filters * (1 + self.classes)] > 0.5).view(-1, self.filters)
        return Solution(values[0], values[1:], float(bound), stopped)
