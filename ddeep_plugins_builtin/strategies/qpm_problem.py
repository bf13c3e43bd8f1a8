"""The quadratic program of QPM: its objective for a pool of filters, and a pool found by greedy choice and swaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

LEAST_GAIN = 1e-9  # of the objective, which is of the order of hundreds: more than rounding
MOST_SWAPS = 1000


@dataclass(frozen=True, eq=False)
class Problem:
    """Choose ``size`` of K filters as a pool, and for each of P classes ``k`` of the pool, no two classes alike.

    Maximise Σ_c Σ_{j of c} gain_cj - Σ_{i<j in the pool} cost_ij. ``gain`` is float64, ``cost`` symmetric with a
    diagonal of zeros, neither of its entries negative.
    """

    gain: Float[Tensor, "p k"]
    cost: Float[Tensor, "k k"]
    k: int
    size: int

    def fit(self, pool: Bool[Tensor, " k"]) -> float:
        """The objective with every class's best ``k`` of the pool, alike or not."""
        return self.gain[:, pool].topk(self.k).values.sum().item() - self.redundancy(pool)

    def redundancy(self, pool: Bool[Tensor, " k"]) -> float:
        """Σ_{i<j} cost_ij."""
        return self.cost[pool][:, pool].sum().item() / 2

    def objective(self, chosen: Bool[Tensor, "p k"], pool: Bool[Tensor, " k"]) -> float:
        """Of a pool, and each class's filters."""
        return self.gain[chosen].sum().item() - self.redundancy(pool)

    @cached_property
    def pool(self) -> Bool[Tensor, " k"]:
        """The pool found: the best filter next, then the best swap while one gains."""
        pool = torch.zeros(self.gain.shape[1], dtype=torch.bool)
        for _ in range(self.size):
            worth = self.worth(pool)
            worth[pool] = -torch.inf
            pool[worth.argmax()] = True
        for _ in range(MOST_SWAPS):
            gained, out, into = max(self.swaps(pool), key=lambda swap: swap[0], default=(0.0, 0, 0))
            if gained <= LEAST_GAIN:
                break
            pool[out], pool[into] = False, True
        return pool

    def worth(self, pool: Bool[Tensor, " k"]) -> Float[Tensor, " k"]:
        """What adding each filter to the pool gains."""
        return self.added(pool) - self.cost[:, pool].sum(1)

    def added(self, pool: Bool[Tensor, " k"]) -> Float[Tensor, " k"]:
        """What the classes gain by a filter: each takes it in place of its worst, if better."""
        if int(pool.sum()) < self.k:
            return self.gain.sum(0)
        worst = self.gain[:, pool].topk(self.k).values[:, -1:]
        return (self.gain - worst).clamp(min=0).sum(0)

    def swaps(self, pool: Bool[Tensor, " k"]) -> list[tuple[float, int, int]]:
        """For each filter of the pool the best one to take its place, as (gain, out, in)."""
        before, found = self.fit(pool), []
        for out in torch.nonzero(pool)[:, 0].tolist() if self.size < len(pool) else []:
            rest = pool.clone()
            rest[out] = False
            kept = self.gain[:, rest].topk(min(self.k, self.size - 1)).values.sum().item() - self.redundancy(rest)
            worth = self.worth(rest)
            worth[pool] = -torch.inf
            into = int(worth.argmax())
            found.append((kept + worth[into].item() - before, out, into))
        return found

    def choose(self, pool: Bool[Tensor, " k"]) -> Bool[Tensor, "p k"]:
        """Every class's best ``k`` of the pool; of classes alike those move that lose least by one exchange.

        Where no exchange sets a class apart it stays as it is: there are not enough sets of ``k`` for all classes.
        """
        masked = torch.where(pool, self.gain, -torch.inf)
        chosen = torch.zeros_like(masked, dtype=torch.bool).scatter(1, masked.topk(self.k).indices, True)
        stuck: set[int] = set()
        while True:
            alike = [c for c in twins(chosen) if c not in stuck]
            if not alike:
                return chosen
            moves = [(self.exchange(chosen, c, pool), c) for c in alike]
            possible = [(move[0], c, move[1]) for move, c in moves if move is not None]
            if not possible:
                return chosen
            _, c, row = min(possible, key=lambda move: move[0])
            chosen[c] = row

    def exchange(
        self, chosen: Bool[Tensor, "p k"], c: int, pool: Bool[Tensor, " k"]
    ) -> tuple[float, Bool[Tensor, " k"]] | None:
        """The cheapest exchange of one filter of class c that makes it like no other, its loss first."""
        taken = {tuple(row) for row in chosen.tolist()}
        inside, outside = (torch.nonzero(pool & mask)[:, 0] for mask in (chosen[c], ~chosen[c]))
        losses = self.gain[c, inside][:, None] - self.gain[c, outside]
        for flat in losses.flatten().argsort(stable=True).tolist():
            out, into = divmod(flat, len(outside))
            row = chosen[c].clone()
            row[inside[out]], row[outside[into]] = False, True
            if tuple(row.tolist()) not in taken:
                return losses[out, into].item(), row
        return None


def twins(chosen: Bool[Tensor, "p k"]) -> list[int]:
    """The classes that have the same filters as another."""
    _, group, counts = chosen.unique(dim=0, return_inverse=True, return_counts=True)
    return torch.nonzero(counts[group] > 1)[:, 0].tolist()


def rescaled(similarity: Float[Tensor, "k k"], size: int) -> Float[Tensor, "k k"]:
    """R': the similarities above τ, stretched to 0…1; 0 elsewhere.

    τ is the smallest threshold found below which ``size`` filters keep to each other: from every filter on, the one
    least like those so far is added, and the set with the least similar closest pair counts. (That the smallest of all
    is meant makes it a clique problem.)
    """
    apart = similarity.clone().fill_diagonal_(torch.inf)
    threshold = closest_pairs(apart, size).min().item()
    pairs = similarity.clone().fill_diagonal_(0.0)
    above = (pairs > threshold).fill_diagonal_(False)
    if not above.any():
        return torch.zeros_like(pairs)
    low, high = pairs[above].min(), pairs[above].max()
    stretched = (pairs - low) / (high - low) if high > low else torch.ones_like(pairs)
    return torch.where(above, stretched, 0.0)


def closest_pairs(apart: Float[Tensor, "k k"], size: int) -> Float[Tensor, " k"]:
    """From every filter on, the largest similarity within a set of ``size`` grown by the least similar."""
    nearest = apart.clone()  # of every filter (column) to the set that starts at a row's
    found = torch.zeros(len(apart), dtype=apart.dtype)
    starts: Int64[Tensor, " k"] = torch.arange(len(apart))
    for _ in range(size - 1):
        near, added = nearest.min(1)
        found = torch.maximum(found, near)
        nearest = torch.maximum(nearest, apart[added])
        nearest[starts, added] = torch.inf
    return found
