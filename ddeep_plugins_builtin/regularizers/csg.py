"""The class-specific gate of Liang et al. (ECCV 2020): which filters each class may use, learned with the network.

Next to the network's own loss, the logits of each image are computed once more from the responses that its true class's
row of the gate lets through. The gate's L1 norm costs where it exceeds a budget, so a row keeps what its class needs.
The paper alternates between the two losses by epochs; here every step takes both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ddeep.plugin import ConfigError


def build(
    num_classes: int, filters: Mapping[str, int], *, head: nn.Module, gated: float, density: float, budget: float
) -> Gate:
    """The term ``gated``·CE(gated logits) + ``density``·max(0, ‖G‖₁ - C·``budget``) / C.

    ``budget`` is the number of filters that a class may use at no cost.
    """
    if len(filters) != 1:
        raise ConfigError(
            f"The gate belongs to the one layer that feeds the head; {len(filters)} were given: {', '.join(filters)}."
        )
    ((layer, count),) = filters.items()
    return Gate(layer, num_classes, count, head, gated, density, budget)


class Gate(nn.Module):
    """The gate ``(C, K)`` with entries in [0, 1] and a maximum of 1 in every row; it starts open."""

    def __init__(
        self, layer: str, classes: int, filters: int, head: nn.Module, gated: float, density: float, budget: float
    ) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(classes, filters))
        self._layer = layer
        self._head = (head,)  # in a tuple: the head's parameters are the network's, not this module's
        self._gated, self._density, self._budget = gated, density, budget

    def forward(self, responses: Mapping[str, Tensor], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        project(self.gate)
        logits = self._head[0](responses[self._layer] * self.gate[labels])
        return self._gated * F.cross_entropy(logits, labels) + self._density * excess(self.gate, self._budget)


def excess(gate: Float[Tensor, "c k"], budget: float) -> Float[Tensor, ""]:
    """What the L1 norm has beyond ``budget`` filters a class, per class."""
    return F.relu(gate.abs().sum() - budget * len(gate)) / len(gate)


@torch.no_grad()
def project(gate: Float[Tensor, "c k"]) -> None:
    """Rescale rows to a maximum of 1, then clamp to [0, 1], in place. A row without a positive entry opens again."""
    largest = gate.amax(1, keepdim=True)
    gate.div_(torch.where(largest > 0, largest, 1.0)).clamp_(0.0, 1.0)
    gate.masked_fill_(largest <= 0, 1.0)
