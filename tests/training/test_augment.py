"""Whole-batch augmentation against torchvision's on single images."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional as vision

from ddeep.training.batches import crop_and_flip, draw


@settings(deadline=None)
@given(
    count=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_equals_torchvision_on_single_images(
    count: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=source)
    corners, flipped = draw(count, padding, flip, source)
    found = crop_and_flip(pixels, padding, corners, flipped)
    assert found.dtype == torch.uint8
    for image, (top, left), mirrored, one in zip(pixels, corners.tolist(), flipped.tolist(), found, strict=True):
        expected = vision.crop(vision.pad(image.permute(2, 0, 1), [padding]), top, left, height, width)
        expected = vision.hflip(expected) if mirrored else expected
        assert torch.equal(one, expected.permute(1, 2, 0))


def test_draws_cover_every_corner_evenly_and_flip_half() -> None:
    corners, flipped = draw(20_000, 4, True, torch.Generator().manual_seed(0))
    for axis in (0, 1):
        counts = corners[:, axis].bincount(minlength=9)
        assert len(counts) == 9
        assert counts.min() > 20_000 / 9 * 0.9
    assert 0.48 < flipped.float().mean() < 0.52
    assert not draw(100, 4, False, torch.Generator().manual_seed(0))[1].any()
