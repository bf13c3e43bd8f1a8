"""The decomposed checkpoints of the paper's authors: a dense network with the decomposed head beside its own.

``final_weights`` (C, k) and ``final_bias`` (C) belong to the filters of a file of its own, in that file's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import SelectionError, WeightsError
from ..evidence.context import Head
from ..selections.selection import Selection

_WEIGHT, _BIAS = "final_weights", "final_bias"


@dataclass(frozen=True, eq=False)
class FinalHead:
    """The decomposed head of such a checkpoint: ``weight[c, i]`` belongs to the i-th filter of class c."""

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, " c"]

    def at(self, selection: Selection) -> Head:
        """The same head as a masked dense one ``(C, K)``. Raises SelectionError where the numbers do not fit."""
        classes, k = self.weight.shape
        sizes = [len(row) for row in selection.filters]
        if sizes != [k] * classes:
            raise SelectionError(
                f"The weights carry a decomposed head of {classes} classes with {k} filters each; the selection has "
                f"{len(sizes)} classes with {min(sizes)} to {max(sizes)}. Give the filters it was trained with."
            )
        dense = torch.zeros(classes, selection.num_filters)
        dense.scatter_(1, torch.tensor(selection.filters), self.weight)
        return Head(dense, self.bias)


def split_final_head(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], FinalHead | None]:
    """The dense network's own parameters, and the decomposed head if there is one."""
    dense = {name: value for name, value in state.items() if name not in (_WEIGHT, _BIAS)}
    if len(dense) == len(state):
        return dense, None
    missing = [name for name in (_WEIGHT, _BIAS) if name not in state]
    if missing:
        raise WeightsError(f"The weights have half of a decomposed head: {missing[0]!r} is missing.")
    weight, bias = state[_WEIGHT], state[_BIAS]
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise WeightsError(f"The decomposed head's {_WEIGHT} and {_BIAS} have the shapes {shapes}, not (C, k) and (C).")
    return dense, FinalHead(weight.float(), bias.float())
