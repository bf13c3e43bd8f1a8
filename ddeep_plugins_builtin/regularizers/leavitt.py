"""Class selectivity as a term of the loss (Leavitt & Morcos 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import ConfigError
from ddeep_plugins_builtin.metrics.class_selectivity import index

Responses = Mapping[str, Tensor]


def build(num_classes: int, filters: Mapping[str, int], *, alpha: float) -> Callable[[Responses, Tensor], Tensor]:
    """-alpha times the mean over layers of the mean over filters of the class selectivity index, within the batch.

    Defined for non-negative responses; raises ConfigError on the first batch that has others.
    """
    checked: set[str] = set()

    def term(responses: Responses, labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        _check_sign(responses, checked)
        per_layer = torch.stack([selectivity(responses[name], labels, num_classes) for name in filters])
        return -alpha * per_layer.mean()

    return term


def selectivity(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], num_classes: int) -> Float[Tensor, ""]:
    """Mean over filters of the index, from the means of the classes that are in the batch; 0 for fewer than two."""
    membership = torch.zeros(num_classes, len(labels), dtype=responses.dtype, device=responses.device)
    membership[labels, torch.arange(len(labels), device=labels.device)] = 1.0
    counts = membership.sum(1)
    # Without a look at how many classes there are, which would make a GPU's host wait for every batch.
    absent = (counts == 0)[:, None]
    means = membership @ responses / counts.clamp(min=1)[:, None]
    best = means.masked_fill(absent, -torch.inf).amax(0)
    present = (~absent).sum()
    return torch.where(present < 2, 0.0, index(best, means.sum(0), present.clamp(min=2)).mean())


def _check_sign(responses: Responses, checked: set[str]) -> None:
    for name in responses.keys() - checked:
        if responses[name].detach().min() < 0:
            raise ConfigError(
                f"The class selectivity index is defined for non-negative responses, but layer {name!r} has negative "
                "ones. Name layers after a ReLU: --layers '*relu*'"
            )
        checked.add(name)
