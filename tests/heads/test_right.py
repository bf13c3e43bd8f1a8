"""Which images are right: what argmax says, ties and numbers without an order included."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.heads._right import which_right
from ddeep.heads.accuracy import predict_all, right_all
from ddeep.networks.device import CPU
from ddeep.networks.head import Head
from tests.support.effort import examples


@given(seed=st.integers(0, 999), heads=st.integers(0, 3), classes=st.integers(1, 5), images=st.integers(0, 9))
@examples(40)
def test_it_is_what_argmax_says(seed: int, heads: int, classes: int, images: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-1, 2, (heads, classes, images), generator=generator).float()  # with many ties
    labels = torch.randint(0, classes, (images,), generator=generator)
    assert torch.equal(which_right(logits.clone(), labels), logits.argmax(1) == labels)


def test_no_number_is_not_right() -> None:
    logits = torch.tensor([[[torch.nan, 1.0], [torch.nan, torch.nan]]])
    assert which_right(logits, torch.tensor([0, 1])).tolist() == [[False, False]]


def test_heads_are_told_from_one_another() -> None:
    generator = torch.Generator().manual_seed(0)
    responses, labels = torch.rand(50, 6, generator=generator), torch.arange(50) % 4
    heads = [Head(torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)) for _ in range(3)]
    assert torch.equal(right_all(responses, labels, heads), predict_all(responses, heads) == labels)
    assert right_all(responses, labels, [], device=CPU).shape == (0, 50)
