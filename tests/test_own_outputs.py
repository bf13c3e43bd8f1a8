"""What people's networks return and their loaders give: logits and batches are found, or what is there is named."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ddeep
from ddeep.errors import ConfigError, DataError
from ddeep.networks.logits import read_logits
from tests.support.bodies import Body, loader, made
from tests.support.toys import CLASSES, pictures

Outputs = namedtuple("Outputs", ["aux", "logits"])


class ModelOutput(OrderedDict[str, Any]):
    """As transformers has it: a mapping whose entries are attributes, too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "pack",
    [
        lambda logits, x: (logits, x),
        lambda logits, x: [logits, logits / 2, x],
        lambda logits, x: {"features": x.mean((2, 3)), "logits": logits},
        lambda logits, x: {"maps": x, "scores": logits},
        lambda logits, x: Outputs(x.mean((2, 3)), logits),
        lambda logits, _x: ModelOutput(loss=torch.zeros(()), logits=logits),
    ],
)
def test_logits_are_found_in_what_a_network_returns(pack: Any) -> None:
    class Packing(Body):
        def forward(self, x: Tensor) -> Any:
            return pack(super().forward(x), x)

    plain, packing = made(Body), made(Packing)
    options: dict[str, Any] = {"strategy": "contribution", "k": 2}
    selection = ddeep.select(packing, loader(), **options)
    assert selection == ddeep.select(plain, loader(), **options)
    assert ddeep.evaluate(packing, loader()) == ddeep.evaluate(plain, loader())
    decomposed = ddeep.decompose(packing, selection)
    images, _ = pictures(8)
    with torch.no_grad():
        assert torch.equal(read_logits(decomposed(images)), ddeep.decompose(plain, selection)(images))


def test_what_holds_no_logits_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"returns a tuple of \(2, 3, 4, 4\), int, in which there are no logits"):
        read_logits((torch.zeros(2, 3, 4, 4), 5))
    with pytest.raises(ConfigError, match=r"returns a dict of maps, in which there are no logits \(N, C\)"):
        read_logits({"maps": torch.zeros(2, 3, 4, 4)})
    with pytest.raises(ConfigError, match="returns a NoneType, in which"):
        read_logits(None)


class Loads:
    """Batches as some loader gives them, more than once."""

    def __init__(self, pack: Any) -> None:
        self.pack = pack
        self.dataset = range(80)

    def __iter__(self) -> Iterator[Any]:
        for images, labels in loader():
            yield self.pack(images, labels)


@pytest.mark.parametrize(
    "pack",
    [
        lambda images, labels: (images, labels, torch.arange(len(labels))),
        lambda images, labels: [images, labels, ["path"] * len(labels)],
        lambda images, labels: {"pixel_values": images, "labels": labels},
        lambda images, labels: {"id": 3, "image": images, "label": labels.to(torch.uint8)},
        lambda images, labels: {"images": images, "targets": labels.to(torch.int32)},
    ],
)
def test_batches_of_any_form(pack: Any) -> None:
    model = made(Body)
    expected = ddeep.select(model, loader(), strategy="paper", k=2)
    assert ddeep.select(model, Loads(pack), strategy="paper", k=2) == expected
    assert ddeep.evaluate(model, Loads(pack)) == ddeep.evaluate(model, loader())


def test_batches_that_cannot_be_read_say_what_they_are() -> None:
    images, labels = pictures(8)
    cases: list[tuple[Any, str]] = [
        (images, "not a Tensor"),
        (
            {"pixels": images, "labels": labels},
            "a mapping with 'pixel_values' and 'labels'; not a dict of pixels, labels",
        ),
        ((images, labels.tolist()), "not a tuple of Tensor, list"),
        ((images, labels[:, None]), r"not int64 \(8, 1\): give labels\[:, 0\]"),
        ((images, labels[:3]), "There are 3 labels for a batch of 8 images"),
        (
            (images, F.one_hot(labels, CLASSES).float()),
            "multi-label data. ddeep is about networks that give an image one",
        ),
    ]
    for batch, problem in cases:
        with pytest.raises(DataError, match=problem):
            ddeep.select(made(Body), [batch], strategy="paper", k=2)
