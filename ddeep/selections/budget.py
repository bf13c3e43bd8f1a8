"""A budget: how many different filters all classes together may use. The rule for strategies without one of their own.

A strategy ranks the filters of every class. The first in a class's order is worth 1 to it, the second 1/2, the third
1/3, …; only ranks count, since what scores mean is each strategy's own affair. A pool is worth, to every class, the sum
over its best k in it. The filter that adds most is taken into the pool next, the smaller index among equals, until
the budget is spent: greedy choice for a monotone submodular function, which is never below 1 - 1/e of the best possible
(Nemhauser, Wolsey & Fisher, Mathematical Programming 14, 1978). Then every class takes its best k of the pool.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..errors import ConfigError
from .k import K

WHOLE = 2**40  # what a class's best filter is worth


def check_budget(budget: int | None, k: K, filters: int | None = None) -> None:
    """Raise ConfigError for a budget that classes of ``k`` filters, at a layer of so many, cannot have."""
    if budget is None:
        return
    if isinstance(k, float):
        raise ConfigError(
            f"A budget goes with a whole number of filters per class, not with the fraction k = {k}. Give --k 5, say."
        )
    if budget < k:
        raise ConfigError(
            f"The budget of {budget} filters for all classes together is less than the k = {k} of each. "
            f"Give a budget of {k} or more, or a smaller k."
        )
    if filters is not None and budget > filters:
        raise ConfigError(
            f"The budget is {budget} filters for all classes together, but the layer has {filters}. "
            f"Choose from {k} to {filters}, or leave it out."
        )


def common_pool(order: Int64[Tensor, "c k"], k: int, budget: int) -> Bool[Tensor, " k"]:
    """The filters that all classes choose from, given those of each from the best on. Takes C·K·budget operations."""
    classes, filters = order.shape
    # In whole numbers, whose sum over the classes is the same in whatever order those come.
    ranks = (WHOLE / torch.arange(1, filters + 1, dtype=torch.float64)).round().long().expand(order.shape)
    worth = torch.empty(order.shape, dtype=torch.int64).scatter_(1, order, ranks)
    had = torch.zeros(classes, k, dtype=torch.int64)  # what the best k of the pool are worth to each class
    pool = torch.zeros(filters, dtype=torch.bool)
    for _ in range(budget):
        worst, place = had.min(1)
        added = (worth - worst[:, None]).clamp_(min=0).sum(0).masked_fill_(pool, -1)
        chosen = int(added.argmax())
        pool[chosen] = True
        had.scatter_(1, place[:, None], torch.maximum(worst, worth[:, chosen])[:, None])
    return pool
