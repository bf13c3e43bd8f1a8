"""Q-SENN: the filters of SLDD with a ternary head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ddeep.plugin import Context, Evidence, K, Selection

from .sldd import fits, largest, selection
from .training_set import training_set


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Selection]:
    """Norrenbrock et al., Q-SENN: Quantized self-explaining neural networks, AAAI 2024.

    Pool, path and the k·C largest weights are those of ``sldd``; each weight becomes ± their mean magnitude, and the
    biases fall in equal steps from the largest |bias| to its negative as a class has more positive than negative ones.
    Theirs takes the end of the path, and repeats all this in four rounds, with training in between.
    """
    data = evidence.derived(training_set, context.seed)
    found = {}
    for k, (fit, pool) in evidence.derived(fits, tuple(map(int, ks)), context.budget, context.seed).items():
        weight = torch.zeros(len(data.present), evidence.filters + 1, dtype=torch.float64)
        if fit is not None:
            weight[:, [*pool.tolist(), -1]] = fit.weight.double().cpu()
        kept = largest(weight[:, :-1].abs(), k)
        head = ternary(weight[:, :-1], weight[:, -1], kept)
        found[k] = selection(evidence, data, *head, kept, fit, "ternary")
    return {k: found[int(k)] for k in ks}


def ternary(
    weight: Float[Tensor, "p k"], bias: Float[Tensor, " p"], kept: Bool[Tensor, "p k"]
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " p"]]:
    """The weights kept, as signs times their mean magnitude, and the biases that go with them.

    Only differences of biases matter; as steps from zero leave them, their mean is 0 before the largest is taken.
    """
    signs = weight.sign() * kept
    more = signs.sum(1)
    share = (more - more.min()) / (more.max() - more.min()).clamp(min=1)
    return signs * weight[kept].abs().mean(), (bias - bias.mean()).abs().max() * (1 - 2 * share)
