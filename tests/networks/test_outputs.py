"""Outputs and classes are brought together by their names, or the error says why they cannot be."""

from __future__ import annotations

import pytest
import torch

from ddeep.data.images import TensorImages
from ddeep.errors import DataError
from ddeep.networks.outputs import name_outputs, with_names


def named(*classes: str) -> TensorImages:
    pixels = torch.zeros(len(classes), 2, 2, 3, dtype=torch.uint8)
    return TensorImages.of(pixels, torch.arange(len(classes)), classes)


@pytest.mark.parametrize(
    ("classes", "own", "expected"),
    [
        (("cat", "dog"), (), ("cat", "dog")),
        (("cat", "dog"), ("dog", "cat"), ("dog", "cat")),
        (("dog",), ("cat", "dog", "emu"), ("cat", "dog", "emu")),
        (("0", "1"), ("cat", "dog"), ("cat", "dog")),
        (("tabby_cat", "Dog"), ("dog, hound", "tabby cat, tabby"), ("Dog", "tabby_cat")),
        (("crane (n1)", "emu", "crane (n2)"), ("crane", "emu", "crane, bird"), ("crane (n1)", "emu", "crane (n2)")),
        (("0", "1"), ("crane", "crane"), ("crane (0)", "crane (1)")),
    ],
)
def test_names_of_outputs(classes: tuple[str, ...], own: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert name_outputs(classes, len(own) or len(classes), own, "w") == expected


@pytest.mark.parametrize(
    ("classes", "own", "message"),
    [
        (("cat", "emu"), ("cat", "dog", "cow"), "class 'emu' is not among the 3 outputs of 'w': 'cat', 'dog', 'cow'"),
        (("a", "b", "c"), (), "has 3 classes, but the weights 'w' are for 2"),
        (("crane (n2)", "emu"), ("crane", "emu", "crane, bird"), "class 'crane .n2.' is not among"),
        (("1", "0"), ("cat", "dog"), "class '1' is not among"),
    ],
)
def test_what_is_no_output_is_named(classes: tuple[str, ...], own: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        name_outputs(classes, len(own) or 2, own, "w")


def test_numbers_take_the_networks_names() -> None:
    images = named("0", "1")
    assert with_names(images, ("cat", "dog")).classes == ("cat", "dog")
    assert with_names(images, ("cat", "dog")).content_hash == images.content_hash
    assert with_names(images, ("cat", "dog", "emu")).classes == ("0", "1")
    assert with_names(named("emu", "cat"), ("cat", "dog")).classes == ("emu", "cat")
