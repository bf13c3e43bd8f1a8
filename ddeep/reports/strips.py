"""The images of every selected filter, side by side in one picture, once plain and once with where it is active."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import console
from ..data.loader import read_inputs, read_pixels
from .findings import Findings, Measured
from .tiles import activation_maps, data_uri, enlarged, spotlight

MOST_TILES = 1200  # in one page: what keeps it within a few megabytes
CHUNK = 64


@dataclass(frozen=True)
class Strip:
    """One filter's images as ``data:`` addresses; ``active`` is None where the layer has no positions."""

    filter: int
    count: int
    plain: str
    active: str | None


def shown_images(filters: int, most: int) -> int:
    """How many images of each filter a page can hold."""
    return max(1, min(most, MOST_TILES // max(1, filters)))


def strips(found: Findings) -> list[Strip]:
    """A strip for every filter that some class has selected."""
    measured = found.measured
    if measured is None or measured.subject.network.preprocessing is None:
        return []
    filters = sorted(found.users())
    count = shown_images(len(filters), measured.top.m)
    with console.progress("Images", total=len(filters)) as advance:
        made = []
        for start in range(0, len(filters), CHUNK):
            made += list(_strips(measured, filters[start : start + CHUNK], count))
            advance(len(filters[start : start + CHUNK]))
    return made


def _strips(measured: Measured, filters: list[int], count: int) -> Iterator[Strip]:
    """Strips of a few filters, their images read and run together."""
    subject = measured.subject
    tops = {j: [i for i in measured.top.indices[j, :count].tolist() if i >= 0] for j in filters}
    indices = sorted({index for top in tops.values() for index in top})
    place = {index: row for row, index in enumerate(indices)}
    preprocessing = subject.network.needed_preprocessing()
    pixels = read_pixels(subject.images["train"], indices, preprocessing)
    images = read_inputs(subject.images["train"], indices, preprocessing)
    maps = activation_maps(subject.network.module, measured.layer, images, filters, subject.device)
    for j, top in tops.items():
        rows = [place[index] for index in top]
        plain = data_uri([enlarged(pixels[row]) for row in rows])
        active = None
        if maps is not None:
            active = data_uri([spotlight(pixels[row], maps.of(row, j)) for row in rows])
        yield Strip(j, len(rows), plain, active)
