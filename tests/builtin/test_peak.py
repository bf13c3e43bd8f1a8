"""The strategy that looks at maps, against its definition, and what a statistic may make of maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import ddeep
from ddeep.plugin import PeakSums, ResponseBatch, Statistic, accumulator
from tests.reference.peak import peak
from tests.support.toys import CLASSES, FILTERS, pictures, toy


def maps(module: Any, layer: str, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        module.eval()(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("layer", ["conv", "relu"])
def test_scores_are_those_of_the_definition(layer: str) -> None:
    model, (images, labels) = toy(), pictures(50)
    expected = peak(maps(model, layer, images).tolist(), labels.tolist(), CLASSES)
    batches = [(images[:13], labels[:13]), (images[13:], labels[13:])]
    evidence = ddeep.gather(model, batches, layer=layer, statistics=[PeakSums()])
    sums = evidence[PeakSums()].sums / evidence.class_counts[:, None]
    torch.testing.assert_close(sums, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)
    found = ddeep.select(model, batches, strategy="peak", k=FILTERS, layer=layer)
    for c in range(CLASSES):
        assert list(found.scores[c]) == pytest.approx(sorted(expected[c], reverse=True), rel=1e-6)


def spread(maps: Tensor) -> Tensor:
    """The deviation of a map over positions."""
    return maps.std(2, correction=0)


@dataclass(unsafe_hash=True)
class Spreads(Statistic):
    """As a stranger would write it."""

    extras: ClassVar[frozenset[Any]] = frozenset({spread})
    total: Tensor = accumulator()

    def start(self, classes: int, filters: int, device: torch.device | str) -> None:  # noqa: ARG002
        self.total = torch.zeros(filters, dtype=torch.float64, device=device)

    def update(self, batch: ResponseBatch) -> None:
        self.total += batch.looked[spread].double().sum(0)


def test_a_statistic_of_ones_own_looks_at_maps_tokens_and_single_numbers() -> None:
    model, (images, labels) = toy(), pictures(20)
    seen = maps(model, "relu", images).flatten(2)
    found = ddeep.gather(model, [(images, labels)], layer="relu", statistics=[Spreads(), PeakSums()])[Spreads()]
    torch.testing.assert_close(found.total, seen.std(2, correction=0).double().sum(0))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.head = nn.Linear(3, 5), nn.Linear(5, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(x.flatten(2).transpose(1, 2)).mean(1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    tokens = Tokens()
    evidence = ddeep.gather(tokens, [(images, labels)], statistics=[Spreads()])
    assert evidence.layer.name == "mix"
    with torch.no_grad():
        by_token = tokens.mix(images.flatten(2).transpose(1, 2))
    torch.testing.assert_close(evidence[Spreads()].total, by_token.std(1, correction=0).double().sum(0))
    single = ddeep.gather(tokens, [(images, labels)], layer="head", statistics=[Spreads()])
    assert not single[Spreads()].total.any()
