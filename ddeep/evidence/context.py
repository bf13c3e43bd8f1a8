"""What a strategy or a metric may use beside the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError
from ..networks.layer import Layer
from .replay import Rerun


class Head(NamedTuple):
    """The final linear layer's parameters."""

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, " c"]


@dataclass(frozen=True)
class Context:
    """``module`` is the layer's own; ``head`` is None where the layer does not feed it.

    ``learned`` is what a regularizer has learned along with the weights, named ``<regularizer>.<parameter>``.

    ``run_test`` runs the network over the test split once more, where the network and its images are at hand.
    """

    module: nn.Module
    head: Head | None = None
    seed: int = 0
    layer: Layer | None = None
    run_test: Rerun | None = None
    learned: Mapping[str, Tensor] = field(default_factory=dict)

    def needed_head(self) -> Head:
        """The head, or an error where the layer does not feed it."""
        if self.head is None:
            raise ConfigError("This reads the head's weights, so it works only at the layer that feeds the head.")
        return self.head

    def needed_run(self) -> tuple[Layer, Rerun]:
        """The layer and the means to run the test split on from it, or an error where there is none."""
        if self.layer is None or self.run_test is None:
            raise ConfigError("This runs the network over the test split, which is not at hand here.")
        return self.layer, self.run_test

    def generator(self) -> torch.Generator:
        """A generator freshly seeded with ``seed``."""
        return torch.Generator().manual_seed(self.seed)
