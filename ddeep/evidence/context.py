"""What a strategy or a metric may use beside the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import ConfigError
from ..networks.device import CPU
from ..networks.head import Head
from ..networks.layer import Layer


@dataclass(frozen=True)
class Context:
    """``module`` is the layer's own; ``head`` is None where the layer does not feed it.

    ``budget`` is how many different filters all classes together may use, None where there is no limit.

    ``learned`` is what a regularizer has learned along with the weights, named ``<regularizer>.<parameter>``.

    ``device`` is where work on responses is to be done; they themselves are on the CPU.

    ``run_test`` runs the network over the test split once more, where the network and its images are at hand.
    """

    module: nn.Module
    head: Head | None = None
    seed: int = 0
    budget: int | None = None
    layer: Layer | None = None
    run_test: Replay | None = None
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    device: torch.device = CPU

    def needed_head(self) -> Head:
        """The head, or an error where the layer does not feed it."""
        if self.head is None:
            raise ConfigError("This reads the head's weights, so it works only at the layer that feeds the head.")
        return self.head

    def needed_run(self) -> tuple[Layer, Replay]:
        """The layer and the means to run the test split on from it, or an error where there is none."""
        if self.layer is None or self.run_test is None:
            raise ConfigError("This runs the network over the test split, which is not at hand here.")
        return self.layer, self.run_test

    def generator(self) -> torch.Generator:
        """A generator freshly seeded with ``seed``."""
        return torch.Generator().manual_seed(self.seed)


class View(NamedTuple):
    """One batch after the pass: labels, image indices, and the network's logits."""

    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]
    logits: Float[Tensor, "n c"]


Visit = Callable[[Tensor, Tensor, Tensor], Tensor | None]


@runtime_checkable
class Replay(Protocol):
    """Runs over the test split. ``visit(output, labels, indices)`` sees what the layer gives, and may return another.

    It is called inside the layer, at each of its calls, before the batch's view is there: it keeps what it makes of the
    output, never the output itself, which is gone when the layer is left.
    """

    def __call__(self, visit: Visit | None = None) -> Iterator[View]: ...
