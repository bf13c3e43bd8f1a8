"""The pictures of a page: every image once, in one sheet, and for every tile where on it the filter is active."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from .. import console
from ..data.images import FileImages, Split
from ..data.loader import read_inputs, read_pixels
from ..data.pictures import short_name
from ..evidence.subject import Subject
from ..networks.behind import Behind
from ..networks.places import Axis, Grid
from .findings import Measured
from .packing import packed
from .tiles import Maps, activation_maps, data_uri, enlarged

CHUNK = 32
MOST_PIXELS = 3_700_000  # of all images in one page, and more for every class: what keeps it within a few megabytes
MORE_PIXELS = 2_500
MOST_IMAGES = 3000
MOST_MAPS = 2**20  # bytes
FINEST = 14  # positions of a map along an axis
SIDES = (96, 80, 64, 56)  # of images, the larger the fewer they are


class Shown(NamedTuple):
    """A train or test image."""

    split: Split
    number: int


class Tile(NamedTuple):
    """An image with a filter whose activity is shown on it, and its response; ``tuned`` for the fine-tuned network."""

    image: Shown
    filter: int
    response: float
    tuned: bool = False


@dataclass
class Pictures:
    """Images and tiles asked for so far; ``tile`` and ``image`` give their numbers, or -1 for what has no room."""

    measured: Measured
    most: int
    pixels: int
    images: dict[Shown, int] = field(default_factory=dict)
    tiles: dict[Tile, int] = field(default_factory=dict)

    @classmethod
    def of(cls, measured: Measured) -> Pictures | None:
        """None for responses without images."""
        if measured.subject.network.preprocessing is None:
            return None
        smallest = min(SIDES[-1], max(32, measured.subject.network.preprocessing.size))
        pixels = MOST_PIXELS + MORE_PIXELS * len(measured.subject.classes)
        return cls(measured, min(MOST_IMAGES, pixels // smallest**2), pixels)

    def image(self, shown: Shown) -> int:
        if shown not in self.images and len(self.images) >= self.most:
            return -1
        return self.images.setdefault(shown, len(self.images))

    def tile(self, tile: Tile) -> int:
        if self.image(tile.image) < 0:
            return -1
        return self.tiles.setdefault(tile, len(self.tiles))

    def document(self) -> dict[str, Any]:
        """The sheet, and what its images and tiles are, for the page's script."""
        native = max(32, self.measured.subject.network.needed_preprocessing().size)
        side = next((side for side in SIDES if len(self.images) * min(side, native) ** 2 <= self.pixels), SIDES[-1])
        side = min(side, native)
        pixels: list[UInt8[np.ndarray, "s s 3"]] = []
        maps = _MapsOfTiles(self)
        with console.progress("Images", total=len(self.images)) as advance:
            for some in _chunks(list(self.images), CHUNK):
                fitted, inputs = self._read(some)
                pixels += [enlarged(one, side) for one in fitted]
                maps.add(some, inputs)
                advance(len(some))
        names = [image_name(self.measured, shown) for shown in self.images]
        return {
            "side": side,
            "sheet": data_uri(sheet(pixels, side)),
            "columns": _columns(len(pixels)),
            "names": names,
            "splits": [int(shown.split == "test") for shown in self.images],
            "indices": [shown.number for shown in self.images],
            "labels": [int(self.measured.subject.labels(shown.split)[shown.number]) for shown in self.images],
            "tiles": {
                "image": packed(torch.tensor([self.images[t.image] for t in self.tiles], dtype=torch.int64), "u2"),
                "response": packed(torch.tensor([t.response for t in self.tiles]), "f4"),
                "filter": packed(torch.tensor([t.filter for t in self.tiles], dtype=torch.int64), "u2"),
                "map": packed(torch.tensor(maps.numbers, dtype=torch.int64), "i4"),
            },
            **maps.document(),
        }

    def _read(self, some: Sequence[Shown]) -> tuple[list[Tensor], Tensor]:
        """Pixels and what the network takes, of a few images of either split."""
        subject = self.measured.subject
        recipe = subject.network.needed_preprocessing()
        pixels: dict[Shown, Tensor] = {}
        inputs: dict[Shown, Tensor] = {}
        for split in dict.fromkeys(shown.split for shown in some):
            mine = [shown for shown in some if shown.split == split]
            indices = [shown.number for shown in mine]
            pixels.update(zip(mine, read_pixels(subject.images[split], indices, recipe), strict=True))
            inputs.update(zip(mine, read_inputs(subject.images[split], indices, recipe), strict=True))
        return [pixels[shown] for shown in some], torch.stack([inputs[shown] for shown in some])


class _MapsOfTiles:
    """The maps of all tiles, each as bytes from 0 to 255, its own largest value; -1 numbers those without."""

    def __init__(self, pictures: Pictures) -> None:
        self._measured = pictures.measured
        self._by_image: dict[Shown, list[Tile]] = {}
        for tile in pictures.tiles:
            self._by_image.setdefault(tile.image, []).append(tile)
        self._places = pictures.tiles
        self.numbers = [-1] * len(pictures.tiles)
        self._rows: list[Tensor] = []
        self._exact: Grid | None = None
        self._behind: Behind | None = None
        self._grid: Grid | None = None
        self._size = 1

    def add(self, some: Sequence[Shown], inputs: Tensor) -> None:
        wanted = [tile for shown in some for tile in self._by_image.get(shown, ())]
        for tuned in (False, True):
            mine = [tile for tile in wanted if tile.tuned == tuned]
            subject = self._measured.tuned_subject if tuned else self._measured.subject
            if mine and subject is not None:
                self._add(mine, {shown: at for at, shown in enumerate(some)}, inputs, subject)

    def _add(self, tiles: Sequence[Tile], place: dict[Shown, int], inputs: Tensor, subject: Subject) -> None:
        filters = sorted({tile.filter for tile in tiles})
        maps = activation_maps(
            subject.network.module, self._measured.layer, inputs, filters, subject.device, self._exact
        )
        if maps is None:
            return
        self._exact, self._behind = maps.grid, maps.behind
        maps = coarse(maps)
        self._grid, self._size = maps.grid, maps.side
        for tile in tiles:
            values = maps.of(place[tile.image], tile.filter)
            if (len(self._rows) + 1) * values.numel() > MOST_MAPS:
                return
            self.numbers[self._places[tile]] = len(self._rows)
            self._rows.append(as_bytes(values))

    def document(self) -> dict[str, Any]:
        if self._grid is None:
            return {"maps": None}
        behind = f"{self._behind.layer.name}, by its {self._behind.pooling}" if self._behind else ""
        lit = {"maps": packed(torch.stack(self._rows), "u1"), "grid": grid_document(self._grid, self._size)}
        return lit | {"behind": behind}


def as_bytes(values: Tensor) -> Tensor:
    """A map from 0 to 255, the largest of it; 0 and below is 0."""
    largest = float(values.max())
    scaled = values.clamp(min=0) * (255 / largest) if largest > 0 else torch.zeros_like(values)
    return scaled.round().to(torch.uint8)


def grid_document(grid: Grid, size: int) -> dict[str, Any]:
    """Where a map's positions lie, in parts of the image, for the page's script."""

    def axis(along: Axis) -> dict[str, int | float]:
        return {"count": along.length, "start": (along.start + 0.5) / size, "step": along.step / size}

    return {"down": axis(grid.down), "across": axis(grid.across)}


def coarse(maps: Maps, finest: int = FINEST) -> Maps:
    """Maps of at most ``finest`` positions along an axis, means of their neighbours."""
    height, width = maps.values.shape[-2:]
    if max(height, width) <= finest:
        return maps
    size = (min(height, finest), min(width, finest))
    grid = Grid(maps.grid.down.resized(size[0]), maps.grid.across.resized(size[1]))
    return Maps(F.adaptive_avg_pool2d(maps.values, size), maps.filters, grid, maps.side)


def sheet(pictures: Iterable[UInt8[np.ndarray, "s s 3"]], side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures of one size in rows of ``_columns``."""
    given = list(pictures)
    columns = _columns(len(given))
    rows = -(-len(given) // columns)
    whole = np.zeros((rows * side, columns * side, 3), dtype=np.uint8)
    for at, picture in enumerate(given):
        top, left = at // columns * side, at % columns * side
        whole[top : top + side, left : left + side] = picture
    return whole


def image_name(measured: Measured, shown: Shown) -> str:
    """What an image is called: its number in the split, and its file with the folder that holds it."""
    images = measured.subject.images[shown.split]
    number = f"{shown.split}:{shown.number}"
    if not isinstance(images, FileImages):
        return number
    return f"{number} {short_name(images.files[shown.number])}"


def _columns(count: int) -> int:
    return max(1, int(np.ceil(np.sqrt(count))))


def _chunks(values: Sequence[Shown], size: int) -> Iterable[Sequence[Shown]]:
    return (values[start : start + size] for start in range(0, len(values), size))
