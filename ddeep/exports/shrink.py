"""Which filters of inner layers go."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

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
