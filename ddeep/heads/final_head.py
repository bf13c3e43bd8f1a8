"""The decomposed head that the weights of the paper's authors carry, placed at the filters it was trained with."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import cosine_similarity

from .. import console
from ..errors import SelectionError
from ..networks.head import Head
from ..selections.selection import Selection

CLEAR = 0.95  # cosine with the dense head's weights from which an order is taken for the right one
STRANGE = 0.5  # and below which, in the best order, the filters cannot be those that it was trained with


def place_final_head(final: Head, selection: Selection, dense: Head) -> Head:
    """``final``, whose ``weight[c, i]`` belongs to a filter of class c, as a masked dense head ``(C, K)``.

    Which filter that is, i by itself does not say: the authors' released files stand in another order than the weights
    trained with them. But those began as the weights of ``dense``, the head in the same file. Where another order is
    clearly nearer to them than the selection's own, it is taken, and a note says so. Raises SelectionError where the
    numbers of filters do not fit, or the weights are like those of no order of these filters.
    """
    classes, k = final.weight.shape
    sizes = [len(row) for row in selection.filters]
    if sizes != [k] * classes:
        raise SelectionError(
            f"The weights carry a decomposed head of {classes} classes with {k} filters each; the selection has "
            f"{len(sizes)} classes with {min(sizes)} to {max(sizes)}. Give the filters it was trained with."
        )
    given = torch.tensor(selection.filters)
    nearest = _nearest(final, given, dense)
    alike = {name: _alike(final, filters, dense) for name, filters in (("given", given), ("nearest", nearest))}
    if alike["nearest"] < STRANGE:
        raise SelectionError(
            "The decomposed head in the weights cannot be of these filters: in the best order its weights have a "
            f"cosine of {alike['nearest']:.2f} with the dense head's there. Give the filters it was trained with."
        )
    reordered = alike["given"] < CLEAR <= alike["nearest"]
    if reordered:
        console.note(
            "The decomposed head in the weights stands in another order than the selection: its rows are matched to "
            f"the dense head's weights (cosine {alike['nearest']:.3f}; {alike['given']:.3f} as given)."
        )
    placed = torch.zeros(classes, selection.num_filters)
    placed.scatter_(1, nearest if reordered else given, final.weight)
    return Head(placed, final.bias)


def _nearest(final: Head, filters: Int64[Tensor, "c k"], dense: Head) -> Int64[Tensor, "c k"]:
    """The filters of each class in the order in which the dense weights are nearest to the final ones."""
    weights = dense.weight.gather(1, filters)
    distances = (final.weight[:, :, None] - weights[:, None, :]).square()
    orders = [torch.from_numpy(linear_sum_assignment(one.numpy())[1]) for one in distances.double()]
    return filters.gather(1, torch.stack(orders))


def _alike(final: Head, filters: Int64[Tensor, "c k"], dense: Head) -> float:
    """Cosine of all weights with the dense ones at ``filters``."""
    return float(cosine_similarity(final.weight.flatten(), dense.weight.gather(1, filters).flatten(), dim=0))
