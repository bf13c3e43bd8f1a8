"""The head that a strategy has learned along with its selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import SelectionError

Lists = Sequence[Sequence[int]]
LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class LearnedHead:
    """``weights[c]`` belong to the filters of class c, in their order; ``biases`` has one number for each class."""

    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]

    @classmethod
    def of(cls, filters: Lists, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"]) -> Self:
        """What a linear head holds at the ``filters`` of each class."""
        rows = zip(weight.double().cpu(), filters, strict=True)
        made = cls(tuple(tuple(row[list(own)].tolist()) for row, own in rows), tuple(bias.double().tolist()))
        made.check(filters)
        return made

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read what ``to_json`` returned. Raises SelectionError for anything else, but does not check sizes."""
        if not isinstance(document, dict) or not {"weights", "biases"} <= document.keys():
            raise SelectionError("its head must be an object with weights and biases.")
        rows = document["weights"]
        if not isinstance(rows, list):
            raise SelectionError("the head's weights must be a list of lists, one for each class.")
        return cls(
            tuple(numbers(row, "weights of the head") for row in rows),
            numbers(document["biases"], "biases of the head"),
        )

    def to_json(self) -> dict[str, Any]:
        """``weights`` and ``biases`` as lists."""
        return {"weights": [list(row) for row in self.weights], "biases": list(self.biases)}

    def check(self, filters: Lists) -> None:
        """Raise SelectionError unless every filter has a weight and every class a bias, all finite in float32."""
        if len(self.weights) != len(filters) or len(self.biases) != len(filters):
            raise SelectionError(
                f"The learned head has weights for {len(self.weights)} and biases for {len(self.biases)} classes; "
                f"the selection has {len(filters)}."
            )
        for c, (row, own) in enumerate(zip(self.weights, filters, strict=True)):
            if len(row) != len(own) or not all(abs(value) <= LARGEST for value in (*row, self.biases[c])):
                raise SelectionError(
                    f"Class {c} needs one finite weight for each of its {len(own)} filters, and a finite bias."
                )

    def over(
        self, filters: Lists, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, "c k"], Float[Tensor, " c"]]:
        """It as a linear head, zero outside the ``filters``; classes without any keep their row of the dense head."""
        weight, bias = weight.detach().clone(), bias.detach().clone()
        for c, (own, row) in enumerate(zip(filters, self.weights, strict=True)):
            if own:
                weight[c] = 0
                weight[c, list(own)] = torch.tensor(row, dtype=weight.dtype, device=weight.device)
                bias[c] = self.biases[c]
        return weight, bias


def numbers(row: Any, what: str) -> tuple[float, ...]:
    """A list of numbers read from JSON. Raises SelectionError, which calls them ``what``, for anything else."""
    if not isinstance(row, list) or any(type(value) not in (int, float) for value in row):
        raise SelectionError(f"{what} must be a list of numbers, not {str(row)[:60]!r}.")
    return tuple(float(value) for value in row)
