"""The decomposed head that the weights of the paper's authors carry, placed at the filters it was trained with."""

from __future__ import annotations

import torch

from ..errors import SelectionError
from ..networks.head import Head
from ..selections.selection import Selection


def place_final_head(final: Head, selection: Selection) -> Head:
    """``final``, whose ``weight[c, i]`` belongs to the i-th filter of class c, as a masked dense head ``(C, K)``.

    Raises SelectionError where the numbers do not fit.
    """
    classes, k = final.weight.shape
    sizes = [len(row) for row in selection.filters]
    if sizes != [k] * classes:
        raise SelectionError(
            f"The weights carry a decomposed head of {classes} classes with {k} filters each; the selection has "
            f"{len(sizes)} classes with {min(sizes)} to {max(sizes)}. Give the filters it was trained with."
        )
    dense = torch.zeros(classes, selection.num_filters)
    dense.scatter_(1, torch.tensor(selection.filters), final.weight)
    return Head(dense, final.bias)
