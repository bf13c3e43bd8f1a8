"""Which filters of inner layers go, and what the rest needs afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError

STEPS = 7  # halvings of the range of fractions: to under one filter in a hundred

Importances = Mapping[str, Float[Tensor, " k"]]


def importance(scores: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """Of every filter for the classes of ``scores`` together: the mean of what each class gives it, from 0 to 1.

    A class's scores are brought to that range first, so that none outweighs the others.
    """
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return ((scores - low) / (high - low).clamp_min(1e-12)).mean(0)


def least(importances: Importances, fraction: float) -> dict[str, tuple[int, ...]]:
    """The ``fraction`` of every layer's filters that matter least, one at least being left."""
    found = {}
    for name, values in importances.items():
        gone = min(round(fraction * len(values)), len(values) - 1)
        if gone:
            found[name] = tuple(sorted(values.argsort(stable=True)[:gone].tolist()))
    return found


def least_at_random(
    zeroed: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int], draw: torch.Generator
) -> dict[str, tuple[int, ...]]:
    """As many filters of the same layers as ``zeroed`` has, drawn at random."""
    return {
        name: tuple(sorted(torch.randperm(sizes[name], generator=draw)[: len(row)].tolist()))
        for name, row in zeroed.items()
    }


def smallest_fraction(share_at: Callable[[float], float], target: float, what: str) -> float:
    """The smallest fraction to remove so that ``share_at(fraction)``, which falls with it, is at most ``target``.

    Raises ConfigError where even removing nearly all does not do.
    """
    low, high = 0.0, 1.0
    least_share = share_at(high)
    if least_share > target:
        raise ConfigError(
            f"--{what} {target:g} cannot be had: with one filter left in every inner layer it is {least_share:.3f} of "
            "the whole network's. Ask for no less than that."
        )
    if share_at(low) <= target:
        return low
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if share_at(middle) <= target else (middle, high)
    return high


@torch.no_grad()
def estimate_batch_norms(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the running statistics of all batch norms anew from ``batches`` of images, each weighing the same.

    Whoever removes filters changes what the norms behind them see; networks without batch norms stay as they are.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    with _own_statistics(norms):
        for images in batches:
            module(images)


@contextmanager
def _own_statistics(norms: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    try:
        yield
    finally:
        for norm, before in zip(norms, momentum, strict=True):
            norm.momentum = before
            norm.eval()
