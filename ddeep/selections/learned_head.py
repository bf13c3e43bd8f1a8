"""A head at a selection: of each class only the weights that belong to its filters, in their order.

``weight[c, i]`` belongs to the i-th filter of class c; where a class has fewer filters than another, the rest of its
row is 0. So a head that a strategy has learned along with its selection is kept, and written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..errors import SelectionError
from ..networks.head import Head
from .form import FORMS, HeadForm

Lists = Sequence[Sequence[int]]
LARGEST = torch.finfo(torch.float32).max


def gather_head(head: Head, filters: Lists) -> Head:
    """What a dense ``head`` ``(C, K)`` holds at the ``filters`` of each class, in double precision."""
    weight, bias = head.weight.detach().double().cpu(), head.bias.detach().double().cpu()
    taken = _used(filters)
    found = torch.zeros(taken.shape, dtype=torch.float64)
    found[taken] = weight[_rows(filters), [j for own in filters for j in own]]
    return Head(found, bias)


def place_head(head: Head, filters: Lists, dense: Head) -> Head:
    """``head`` as a dense one ``(C, K)``, zero outside the ``filters``; classes without any keep the row of ``dense``.

    The dense head says the type and the device.
    """
    weight, bias = dense.weight.detach().clone(), dense.bias.detach().clone()
    here = [c for c, own in enumerate(filters) if own]
    weight[here] = 0
    weight[_rows(filters), [j for own in filters for j in own]] = head.weight[_used(filters)].to(weight)
    bias[here] = head.bias[here].to(bias)
    return Head(weight, bias)


def check_head(head: Head, filters: Lists) -> None:
    """Raise SelectionError unless every filter has a weight and every class a bias, all finite in float32."""
    if len(head.weight) != len(filters) or len(head.bias) != len(filters):
        raise SelectionError(
            f"The learned head has weights for {len(head.weight)} and biases for {len(head.bias)} classes; "
            f"the selection has {len(filters)}."
        )
    if head.weight.shape[1] != max(map(len, filters), default=0):
        raise SelectionError(f"The learned head has {head.weight.shape[1]} weights a class, not one for each filter.")
    fine = (head.weight.abs() <= LARGEST).all(1) & (head.bias.abs() <= LARGEST)  # false for NaN
    if not fine.all():
        raise _unfit(int((~fine).nonzero()[0]), filters)


def head_to_json(head: Head, filters: Lists, form: HeadForm) -> dict[str, Any]:
    """``form``, ``weights``, a list for each class, and ``biases``."""
    rows = zip(head.weight.tolist(), filters, strict=True)
    return {"form": form, "weights": [row[: len(own)] for row, own in rows], "biases": head.bias.tolist()}


def form_from_json(document: Any) -> HeadForm:
    """The form that ``head_to_json`` has noted; real where nothing is. Raises SelectionError for any other."""
    form = document.get("form", "real") if isinstance(document, dict) else "real"
    if form not in FORMS:
        raise SelectionError(f"the head's form must be one of {', '.join(FORMS)}, not {str(form)[:60]!r}.")
    return form


def head_from_json(document: Any, filters: Lists) -> Head:
    """Read what ``head_to_json`` returned for these ``filters``. Raises SelectionError for anything else."""
    if not isinstance(document, dict) or not {"weights", "biases"} <= document.keys():
        raise SelectionError("its head must be an object with weights and biases.")
    rows = document["weights"]
    if not isinstance(rows, list):
        raise SelectionError("the head's weights must be a list of lists, one for each class.")
    weights = [numbers(row, "weights of the head") for row in rows]
    biases = numbers(document["biases"], "biases of the head")
    if len(weights) == len(filters):
        for c, (row, own) in enumerate(zip(weights, filters, strict=True)):
            if len(row) != len(own):
                raise _unfit(c, filters)
    width = max(map(len, weights), default=0)
    padded = [[*row, *[0.0] * (width - len(row))] for row in weights]
    weight = torch.tensor(padded, dtype=torch.float64).view(len(weights), width)
    return Head(weight, torch.tensor(biases, dtype=torch.float64))


def numbers(row: Any, what: str) -> tuple[float, ...]:
    """A list of numbers read from JSON. Raises SelectionError, which calls them ``what``, for anything else."""
    if not isinstance(row, list) or any(type(value) not in (int, float) for value in row):
        raise SelectionError(f"{what} must be a list of numbers, not {str(row)[:60]!r}.")
    return tuple(float(value) for value in row)


def _unfit(c: int, filters: Lists) -> SelectionError:
    return SelectionError(
        f"Class {c} needs one finite weight for each of its {len(filters[c])} filters, and a finite bias."
    )


def _rows(filters: Lists) -> list[int]:
    return [c for c, own in enumerate(filters) for _ in own]


def _used(filters: Lists) -> Bool[Tensor, "c m"]:
    """Where a class has a filter: the first places of its row."""
    sizes = torch.tensor([len(own) for own in filters])
    return torch.arange(max(map(len, filters), default=0)) < sizes[:, None]
