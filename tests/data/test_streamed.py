"""A stream is gone through once; then its pictures are found by number."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddeep.data.decoding import pixels_of, read_rgb
from ddeep.data.streamed import streamed_images
from ddeep.errors import DataError
from ddeep.files.cache import clear_cache
from ddeep.files.paths import cache_root


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))


class Stream:
    def __init__(self, numbers: range) -> None:
        self.numbers, self.asked = numbers, 0

    def __call__(self) -> Iterator[tuple[bytes, int]]:
        self.asked += 1
        for at in self.numbers:
            made = io.BytesIO()
            picture(at).save(made, "png")
            yield made.getvalue(), at % 2


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


def test_pictures_come_back_by_number_and_the_stream_is_asked_once() -> None:
    stream = Stream(range(6))
    images = streamed_images({"of": "x", "version": 1}, stream, ["a", "b"])
    again = streamed_images({"of": "x", "version": 1}, stream, ["a", "b"])
    assert stream.asked == 1
    assert images.labels.tolist() == again.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert images.content_hash == again.content_hash
    for at in (4, 0, 5):
        assert torch.equal(pixels_of(read_rgb(again.files[at])), pixels_of(picture(at)))


def test_another_version_is_another_dataset_with_a_hash_of_its_content() -> None:
    first = streamed_images({"version": 1}, Stream(range(6)), ["a", "b"])
    same = streamed_images({"version": 2}, Stream(range(6)), ["a", "b"])
    other = streamed_images({"version": 3}, Stream(range(1, 7)), ["a", "b"])
    assert first.content_hash == same.content_hash != other.content_hash


def test_what_the_cache_has_lost_is_asked_for_again() -> None:
    stream = Stream(range(4))
    streamed_images({"version": 1}, stream, ["a", "b"])
    (kept,) = (cache_root() / "streams").iterdir()
    kept.write_bytes(b"")
    images = streamed_images({"version": 1}, stream, ["a", "b"])
    assert stream.asked == 2
    assert torch.equal(pixels_of(read_rgb(images.files[3])), pixels_of(picture(3)))
    assert not clear_cache().kept
    assert not list((cache_root() / "streams").iterdir())


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(DataError, match="the bytes of image files, not a str"):
        streamed_images({"version": 1}, lambda: [("text", 0)], ["a"])  # type: ignore[list-item, return-value]
