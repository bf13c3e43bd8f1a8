"""Shuffled, augmented batches for training. Each is a function of seed, epoch and step alone.

So training can stop after any step and go on as if it had not, and any number of processes see the same batches,
each its own part of every one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..data.decoding import fitted_pixels
from ..data.images import Images, ResponseTable, TensorImages
from ..data.loaded import LoadedImages
from ..data.loader import decode_batches
from ..data.preprocessing import Preprocessing
from ..data.workers import default_workers
from ..errors import ConfigError, DataError
from .recipe import Recipe

Part = tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]


def generator(seed: int, *position: int) -> torch.Generator:
    """A CPU generator of its own for ``position`` (epoch, step) of the run with this ``seed``."""
    state = np.random.SeedSequence(seed, spawn_key=position).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


@dataclass(frozen=True)
class Shuffled:
    """The batches of one training run, as process ``rank`` of ``world`` sees them.

    Every epoch is one permutation of the images; the few that do not fill a batch are left out of it.
    """

    images: Images
    preprocessing: Preprocessing
    recipe: Recipe
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.images) < self.parts:
            raise DataError(f"{len(self.images)} images are too few to train on in batches of {self.parts} parts.")
        if self.recipe.batch_size % self.parts:
            raise ConfigError(
                f"A batch of {self.recipe.batch_size} cannot be split evenly over {self.world} processes × "
                f"{self.recipe.accumulate} accumulated parts. Choose a multiple of {self.parts}."
            )

    @property
    def parts(self) -> int:
        """Parts of a batch: processes times accumulated parts."""
        return self.world * self.recipe.accumulate

    @property
    def batch_size(self) -> int:
        """Images of an optimizer step, over all processes; fewer than asked for where there are not that many."""
        return min(self.recipe.batch_size, len(self.images) // self.parts * self.parts)

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return len(self.images) // self.batch_size

    def epoch(self, number: int, first_step: int = 0) -> Iterator[list[Part]]:
        """The rest of epoch ``number`` from ``first_step`` on: for each step its accumulated parts, normalised."""
        order = torch.randperm(len(self.images), generator=generator(self.seed, number))
        # Image i of a batch goes to part i % parts, whose draws are every parts-th: the same for any division.
        batches = order[: self.steps * self.batch_size].view(self.steps, -1, self.parts).transpose(1, 2)
        own = batches[first_step:, self.rank :: self.world]
        for step, pixels in enumerate(self._pixels(own), start=first_step):
            augmented = self._augmented(pixels, number, step)
            labels = self.images.labels[own[step - first_step]].to(self.device)
            yield list(zip(augmented, labels, strict=True))

    def _pixels(self, own: Int64[Tensor, "steps parts n"]) -> Iterator[list[UInt8[Tensor, "n s s 3"]]]:
        if isinstance(self.images, TensorImages):
            for indices in own:
                yield [self.preprocessing.fit(self.images.pixels[part].to(self.device)) for part in indices]
            return
        if isinstance(self.images, ResponseTable | LoadedImages):  # a loader's batches are Given
            raise DataError("Responses alone cannot be trained on: give a model and images.")
        pinned = self.device.type == "cuda"
        wanted = list(own.flatten(0, 1))
        workers = default_workers(self.world)
        decode = partial(fitted_pixels, preprocessing=self.preprocessing)
        pixels: list[Tensor] = []
        for decoded in decode_batches(
            self.images.files, wanted, decode, workers, image_bytes=self.preprocessing.nbytes, pinned=pinned
        ):
            if decoded.errors:
                raise DataError(decoded.errors[0])
            pixels.append(decoded.pixels.to(self.device, non_blocking=True))
            if len(pixels) == own.shape[1]:
                yield pixels
                pixels = []

    def _augmented(self, pixels: list[Tensor], number: int, step: int) -> list[Tensor]:
        recipe = self.recipe
        corners, flipped = draw(self.batch_size, recipe.crop_padding, recipe.flip, generator(self.seed, number, step))
        mine = [slice(self.rank + i * self.world, None, self.parts) for i in range(len(pixels))]
        return [
            self.preprocessing.normalise(crop_and_flip(part, recipe.crop_padding, corners[rows], flipped[rows]))
            for part, rows in zip(pixels, mine, strict=True)
        ]


def draw(
    count: int, padding: int, flip: bool, generator: torch.Generator
) -> tuple[Int64[Tensor, "n 2"], Bool[Tensor, " n"]]:
    """Random crops and flips of ``count`` images: the top left corners, 0…2·padding, and which to mirror.

    ``generator`` is the CPU's, so that every device sees the same augmentation.
    """
    corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=generator)
    flipped = torch.rand(count, generator=generator) < (0.5 if flip else 0.0)
    return corners, flipped


def crop_and_flip(
    pixels: UInt8[Tensor, "n h w 3"],
    padding: int,
    corners: Int64[Tensor, "n 2"],
    flipped: Bool[Tensor, " n"],
) -> UInt8[Tensor, "n h w 3"]:
    """Pad with black, cut ``h`` by ``w`` at ``corners`` (top, left), then mirror where ``flipped``.

    What torchvision's RandomCrop(padding=…) and RandomHorizontalFlip do to single images.
    """
    count, height, width, _ = pixels.shape
    device = pixels.device
    corners, flipped = corners.to(device), flipped.to(device)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding)) if padding else pixels
    rows = corners[:, :1] + torch.arange(height, device=device)
    across = torch.arange(width, device=device)
    columns = corners[:, 1:] + torch.where(flipped[:, None], across.flip(0), across)
    images = torch.arange(count, device=device)
    return padded[images[:, None, None], rows[:, :, None], columns[:, None, :]]
