"""Cut networks of one backbone joined to one network over all their classes.

Where their common parts hold the same numbers they are one network again: every weight comes from a part that has it.
A channel that one of them computes, it computes from all that the whole network gives it, so that no weight is missing:
the union is the cut of the union. Where the numbers differ (shrunk or fine-tuned parts), the parts run side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .cut import SELECTED, Channels, cut_network, kept_channels
from .plan import CutPlan


@dataclass(frozen=True, eq=False)
class Part:
    """A cut network: its plan and its own tensors."""

    plan: CutPlan
    state: Mapping[str, Tensor]


def join(module: nn.Module, parts: Sequence[Part], example: Tensor) -> tuple[CutPlan, nn.Module]:
    """The one network that ``parts``, cuts of ``module``'s architecture, make up, and its plan.

    ``module`` gives names and shapes alone. Raises CannotShare where the parts hold different numbers for one weight,
    or none of them holds one that the union needs.
    """
    plan = union_plan([part.plan for part in parts])
    whole = {name: torch.full_like(tensor, torch.nan) for name, tensor in _floats(module).items()}
    for part in parts:
        for name, channels in kept_channels(module, part.plan, example).items():
            _place(whole, name, channels, part.state)
    joined = cut_network(module, plan, example)
    state = {name: tensor for name, tensor in joined.state_dict().items() if name.startswith(SELECTED)}
    for name, channels in kept_channels(module, plan, example).items():
        for tensor_name, index in channels.tensors(name, whole):
            taken = whole[tensor_name][index]
            if name == plan.head:
                taken = taken.nan_to_num(0.0)  # a class of one part has no weight from the other's filters
            if taken.isnan().any():
                raise CannotShare(f"no part holds all of {tensor_name!r}")
            state[tensor_name] = taken
    for name in joined.state_dict().keys() - state.keys():
        held = [part.state[name] for part in parts if name in part.state]
        if not held or not all(torch.equal(held[0], other) for other in held):
            raise CannotShare(f"the parts hold different numbers at {name!r}")
        state[name] = held[0]
    joined.load_state_dict(state, strict=True)
    return plan, joined.eval()


def union_plan(plans: Sequence[CutPlan]) -> CutPlan:
    """All that some plan keeps; a filter is removed where every plan removes it."""
    heads = {plan.head for plan in plans}
    if len(heads) > 1:
        raise ConfigError(f"The parts have different heads: {', '.join(sorted(heads))}.")
    outputs = tuple(sorted({c for plan in plans for c in plan.outputs}))
    inputs = tuple(sorted({j for plan in plans for j in plan.inputs}))
    common = set.intersection(*(set(plan.zeroed) for plan in plans))
    rows = {name: set.intersection(*(set(plan.zeroed[name]) for plan in plans)) for name in common}
    return CutPlan(heads.pop(), outputs, inputs, {name: tuple(sorted(row)) for name, row in rows.items() if row})


class SideBySide(nn.Module):
    """Networks that see the same images, their logits in the order of ``order``, each class from its own network."""

    order: Tensor

    def __init__(self, parts: Sequence[nn.Module], outputs: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        flat = [c for row in outputs for c in row]
        self.register_buffer("order", torch.tensor([flat.index(c) for c in sorted(set(flat))]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of all classes; a class of several networks has those of the first."""
        return torch.cat([part(images) for part in self.parts], 1)[:, self.order]


def _floats(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def _place(whole: dict[str, Tensor], name: str, channels: Channels, state: Mapping[str, Tensor]) -> None:
    """Put a part's tensors of the submodule ``name`` where they were in the whole network."""
    for tensor_name, index in channels.tensors(name, whole):
        mine, there = state[tensor_name], whole[tensor_name][index]
        known = ~there.isnan()
        if not torch.equal(there[known], mine[known]):
            raise CannotShare(f"the parts hold different numbers at {tensor_name!r}")
        whole[tensor_name][index] = mine


class CannotShare(ConfigError):  # noqa: N818 - of what cannot be one network
    """The parts are not pieces of one network: fine-tuned, shrunk, or of different runs."""
