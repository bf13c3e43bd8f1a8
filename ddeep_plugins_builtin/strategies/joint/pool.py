"""Choose the filters that all classes share, a pool of them, along with every class's own few."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .fit import SparseHead, fit
from .objective import Objective, Slopes
from .omp import matching_pursuit, shared_pursuit
from .prune import prune
from .search import started
from .swaps import gains_of, improve, promise, screened

KEPT = 0.75  # share of the pool that a round of shrinking keeps
BETWEEN, AFTER = 2, 6  # rounds of swaps between two rounds of shrinking, and at the end
FEWEST = 4  # a pool of less than a quarter of the filters found without a budget is chosen anew
GROWN = 4  # an exchange takes in a quarter of the pool at first
LEAST_STEP = 16  # and a sixteenth at last
SCREENED = 4  # times what is taken in: filters whose gains are worked out, by what they promise all classes
LEAST_GAIN = 1e-3  # relative; below it a smaller exchange is tried
EXCHANGES = 8


@dataclass(frozen=True, eq=False)
class Pool:
    """Some ``filters`` of an ``objective``, ascending, and a ``head`` over them alone, numbered as they are."""

    objective: Objective
    filters: Int64[Tensor, " n"]
    head: SparseHead

    @classmethod
    def of(cls, head: SparseHead, filters: Int64[Tensor, " n"]) -> Pool:
        """A head over all filters that uses none but these."""
        part = among(head.objective, filters)
        support = places(filters, head.objective.filters)[head.support]
        return cls(head.objective, filters, replace(head, objective=part, support=support))

    @property
    def whole(self) -> SparseHead:
        """The head, with filters numbered as all are."""
        ones = self.filters.new_tensor([self.objective.filters])
        support = torch.cat([self.filters, ones])[self.head.support]
        return replace(self.head, objective=self.objective, support=support)


def among(objective: Objective, filters: Int64[Tensor, " n"]) -> Objective:
    """The same problem with these filters alone."""
    rows = torch.cat([filters, filters.new_tensor([objective.filters])])
    return Objective(objective.columns[rows], objective.moments[:, rows], objective.penalty)


def places(filters: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " k1"]:
    """Where each of so many filters, and the row of ones after them, is among ``filters``; -1 elsewhere."""
    found = filters.new_full((count + 1,), -1)
    found[filters] = torch.arange(len(filters), device=filters.device)
    found[-1] = len(filters)
    return found


def within(free: SparseHead, gram: Float[Tensor, "k k"], budget: int) -> SparseHead:
    """The head of the lowest loss found, every class having as many filters as in ``free``, all together ``budget``.

    A budget of a quarter of the filters of ``free`` or more, found without one, is reached by dropping those that cost
    least. A smaller one starts from the filters that least squares takes in for all classes at once: so few, chosen one
    after the other by what the train split loses, are worse on other images at the same loss. Exchanges follow.
    """
    used = free.support[:, :-1].unique()
    if len(used) <= budget:
        return free
    if FEWEST * budget >= len(used):
        pool = shrunk(Pool.of(free, used), budget)
    else:
        pool = common(free.objective, gram, free.width, budget)
    return exchanged(replace(pool, head=improve(pool.head, AFTER))).whole


def common(objective: Objective, gram: Float[Tensor, "k k"], k: int, budget: int) -> Pool:
    """The pool of least squares, with a head found from least squares's filters of each class in it."""
    filters = shared_pursuit(gram, objective.moments[:, :-1], budget).sort().values
    part = among(objective, filters)
    path = matching_pursuit(gram[filters][:, filters], part.moments[:, :-1].contiguous(), min(2 * k, budget))
    return Pool(objective, filters, prune(started(part, path), k))


def shrunk(pool: Pool, size: int, kept: float = KEPT, rounds: int = BETWEEN) -> Pool:
    """The pool with its cheapest filters dropped, a share of them at a time, down to ``size``."""
    while len(pool.filters) > size:
        left = max(size, min(len(pool.filters) - 1, int(kept * len(pool.filters))))
        pool = restricted(pool, costs(pool.head).topk(left).indices.sort().values)
        pool = replace(pool, head=improve(pool.head, rounds))
    return pool


def costs(head: SparseHead) -> Float[Tensor, " n"]:
    """What dropping each filter costs, by the quadratic models of the classes that use it.

    A class loses what the filter's weight is worth, less what the best filter of the pool gains in its place.
    """
    slopes = head.objective.slopes(head.support, head.weight)
    inverse = torch.linalg.inv(head.objective.own_blocks(head.support, slopes.spread))
    cost = head.weight.square() / inverse.diagonal(dim1=1, dim2=2) / 2
    into = screened(head, slopes)
    if into.shape[1]:
        cost = torch.minimum(cost, -gains_of(head, slopes, into).amax(2))
    total = torch.zeros(head.objective.filters, dtype=torch.float64, device=cost.device)
    return total.index_add_(0, head.support[:, :-1].flatten(), cost[:, :-1].clamp(min=0).flatten())


def restricted(pool: Pool, kept: Int64[Tensor, " n"]) -> Pool:
    """The pool with the filters at the places ``kept``; classes take those that promise most for what they lose."""
    head = pool.head
    where = places(kept, len(pool.filters))
    stays = where[head.support] >= 0
    outside = torch.ones_like(head.objective.moments, dtype=torch.bool)
    outside[:, kept] = False
    fill = promise(head).masked_fill(outside, -torch.inf).topk(min(head.width, len(kept)), dim=1).indices
    support = torch.where(stays, head.support, fill.gather(1, ((~stays).cumsum(1) - 1).clamp(min=0)))
    filters = pool.filters[kept]
    weight = torch.where(stays, head.weight, 0.0)
    return Pool(pool.objective, filters, fit(among(pool.objective, filters), where[support], weight))


def exchanged(pool: Pool) -> Pool:
    """Take in filters that all classes together gain most by, let classes swap, drop as many; while the loss falls."""
    size, step = len(pool.filters), max(1, len(pool.filters) // GROWN)
    for _ in range(EXCHANGES):
        head = pool.whole
        filters = torch.cat([pool.filters, wanted(head, pool.filters, step)]).sort().values
        grown = Pool.of(head, filters)
        trial = shrunk(replace(grown, head=improve(grown.head, BETWEEN)), size, kept=0.9, rounds=0)
        trial = replace(trial, head=improve(trial.head, AFTER))
        enough = trial.head.loss < pool.head.loss * (1 - LEAST_GAIN)
        pool = min(trial, pool, key=lambda found: found.head.loss)
        if not enough:
            step //= 2
        if step < max(1, size // LEAST_STEP):
            break
    return pool


def wanted(head: SparseHead, pool: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " m"]:
    """The filters outside the pool by which all classes together gain most, each by its best swap."""
    slopes = head.objective.slopes(head.support, head.weight)
    promised = promise(head, slopes)[:, :-1].clamp(min=0).sum(0)
    promised[pool] = -1.0
    outside = len(promised) - len(pool)
    into = promised.topk(min(SCREENED * count + LEAST_STEP, outside)).indices
    worth = shared_gains(head, slopes, into)
    return into[worth.topk(min(count, len(into))).indices]


def shared_gains(head: SparseHead, slopes: Slopes, into: Int64[Tensor, " o"]) -> Float[Tensor, " o"]:
    """What all classes together gain by each filter, a class by its best swap, or nothing."""
    return gains_of(head, slopes, into.expand(head.objective.classes, -1)).amax(1).clamp(min=0).sum(0)
