"""Taking classes out of a trained network by what a selection says of them, without their images."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import nn

from ..errors import ConfigError, SelectionError
from ..heads.decomposed import check_fits, head_of
from ..networks.head import Head, fitting_head, get_head, set_head
from ..networks.wrappers import unwrapped
from ..selections.selection import Selection


def forget(
    module: nn.Module, selection: Selection, classes: Collection[int], *, deep: bool = False, head: str | None = None
) -> nn.Module:
    """A copy of ``module`` that has forgotten ``classes``, by number.

    What each class's selected filters add to its own logit is removed: W[c, j] = 0 for j in selection(c). With ``deep``
    the filters that only forgotten classes selected are silent for every class besides: W[:, j] = 0. Nothing is
    trained. ``head`` is the final linear layer: by default the one that the selection was made for, or else the only
    one of its size. Raises SelectionError where the selection does not fit it or has no filters for a class,
    ConfigError where no filter is theirs alone.
    """
    made = copy.deepcopy(unwrapped(module))
    name = head or head_of(selection) or fitting_head(made, len(selection.filters), selection.num_filters)
    set_head(made, name, *forgotten_head(Head.of(get_head(made, name)), selection, classes, deep=deep))
    return made


def forgotten_head(dense: Head, selection: Selection, classes: Collection[int], *, deep: bool = False) -> Head:
    """``dense`` without what ``forget`` removes."""
    check_fits(len(selection.filters), selection.num_filters, dense.weight)
    strangers = [c for c in classes if not 0 <= c < len(selection.filters) or not selection.filters[c]]
    if strangers or not classes:
        what = f"class {strangers[0]}" if strangers else "no class"
        raise SelectionError(f"The selection has no filters for {what}, so nothing can be forgotten.")
    weight = dense.weight.clone()
    for c in classes:
        weight[c, list(selection.filters[c])] = 0
    if deep:
        weight[:, list(specific_filters(selection, classes))] = 0
    return Head(weight, dense.bias)


def specific_filters(selection: Selection, classes: Collection[int]) -> tuple[int, ...]:
    """The filters that ``classes`` selected and no other class did. Raises ConfigError where there are none."""
    membership = selection.mask()
    others = torch.ones(len(membership), dtype=torch.bool)
    others[list(classes)] = False
    others[list(selection.absent)] = False  # their dense row selects nothing
    alone = membership[list(classes)].any(0) & ~membership[others].any(0)
    if not alone.any():
        raise ConfigError(
            "Every filter of these classes is some other class's, too: none can be silenced for all. Forget without "
            "--deep, or select fewer filters per class (--k)."
        )
    return tuple(alone.nonzero()[:, 0].tolist())
