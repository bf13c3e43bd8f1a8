"""A small trained-looking network and images whose classes differ: what strategies and metrics are checked on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .. import api
from ..evidence.context import Context, View, Visit
from ..evidence.evidence import Evidence
from ..networks.head import Head
from ..networks.hooks import forward_hooks
from ..networks.layer import Layer
from ..statistics.basic import (
    ClassCounts,
    ClassSquares,
    ClassSums,
    Confusion,
    Correct,
    Extremes,
    GradientSums,
    MagnitudeSums,
    MassHistogram,
    TopCounts,
    ZeroSums,
)
from ..statistics.statistic import Statistic
from ..statistics.top_images import TopImages

CLASSES, FILTERS, PER_CLASS = 4, 6, 12
LAYER = "body"
# What other strategies and metrics may have had gathered: nobody may depend on it without declaring it.
COMMON: tuple[Statistic, ...] = (
    *(ClassCounts(), ClassSums(), ClassSquares(), MagnitudeSums(), Extremes(), ZeroSums(), Confusion(), Correct()),
    *(TopCounts(k) for k in range(1, FILTERS + 1)),
    *(MassHistogram(0.5), GradientSums(), TopImages(3)),
)


@dataclass(frozen=True, eq=False)
class Toy:
    """A network whose layer ``LAYER`` (a convolution, its norm and ReLU) feeds its head, and labelled images.

    ``CLASSES`` classes have images; the head may have more outputs, for absent classes.
    """

    module: nn.Module
    images: Float[Tensor, "n 3 s s"]
    labels: Int64[Tensor, " n"]

    def batches(self, size: int = 16) -> list[tuple[Tensor, Tensor]]:
        """The images in batches."""
        return [
            (self.images[start : start + size], self.labels[start : start + size])
            for start in range(0, len(self.labels), size)
        ]

    def evidence(self, statistics: Iterable[Statistic], size: int = 16) -> Evidence:
        """What one pass over the images gathers, with the responses kept."""
        return api.gather(self.module, self.batches(size), layer=LAYER, statistics=statistics, device="cpu")

    def context(self, test: Toy | None = None) -> Context:
        """The layer and the head, and a way to run the network over the images of ``test``."""
        head = self._head()
        return Context(
            self.module.get_submodule(LAYER),
            Head(head.weight.detach(), head.bias.detach()),
            layer=Layer(LAYER),
            run_test=None if test is None else test.run,
        )

    def run(self, visit: Visit | None = None) -> Iterator[View]:
        """Every batch, run on from what ``visit`` makes of the layer's output; as ``ddeep.evidence.replay`` does."""

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            return None if visit is None else visit(output, labels, indices)

        with forward_hooks(self.module, {LAYER: hook}), torch.no_grad():
            for indices in torch.arange(len(self.labels)).split(16):  # type: ignore[no-untyped-call]
                labels = self.labels[indices]
                yield View(labels, indices, self.module(self.images[indices]))

    def _head(self) -> nn.Linear:
        return cast(nn.Linear, self.module.get_submodule("head"))

    def shuffled(self) -> Toy:
        """The same images in another order."""
        order = torch.randperm(len(self.labels), generator=_seeded(1))
        return Toy(self.module, self.images[order], self.labels[order])

    def relabelled(self, names: Sequence[int]) -> Toy:
        """The same network and images, class c being called ``names[c]``."""
        wanted = torch.tensor(names)
        head = self._head()
        other = nn.Linear(head.in_features, head.out_features)
        with torch.no_grad():
            other.weight[wanted] = head.weight
            other.bias[wanted] = head.bias
        return Toy(_network(self.module.get_submodule(LAYER), other), self.images, wanted[self.labels])


def make_toy(*, absent: int = 0, silent: int = 0, seed: int = 0) -> Toy:
    """A toy with ``CLASSES`` classes that have images and ``absent`` ones that have none. The same for one seed.

    Its first ``silent`` filters respond to no image.
    """
    generator = _seeded(seed)
    convolution = nn.Conv2d(3, FILTERS, 3)
    head = nn.Linear(FILTERS, CLASSES + absent)
    with torch.no_grad():
        for parameter in (*convolution.parameters(), *head.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
        convolution.weight[:silent] = 0.0
        convolution.get_parameter("bias")[:silent] = -1.0
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    means = 2 * torch.randn(CLASSES, 3, 1, 1, generator=generator)
    images = means[labels] + torch.randn(len(labels), 3, 8, 8, generator=generator)
    body = nn.Sequential(convolution, nn.BatchNorm2d(FILTERS), nn.ReLU())
    return Toy(_network(body, head), images, labels)


def _network(body: nn.Module, head: nn.Linear) -> nn.Module:
    parts = {"body": body, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": head}
    return nn.Sequential(OrderedDict(parts)).eval()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
