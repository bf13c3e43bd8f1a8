"""Batches for training from a loader of the user's own: its order, its augmentation, its batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass

import torch

from ..data.batches import read_batch
from ..data.labels import check_labels
from ..data.loaded import LoadedImages
from ..errors import ConfigError
from .batches import Part, generator
from .recipe import Recipe


@dataclass(frozen=True)
class Given:
    """What ``Shuffled`` is for images of ddeep's; whatever the loader draws follows from seed and epoch."""

    images: LoadedImages
    recipe: Recipe
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.world > 1:
            raise ConfigError("Several processes need a dataset of a plugin: a loader of your own is read by one.")
        if not isinstance(self.images.given, Sized):
            raise ConfigError("To train on, give a DataLoader with a length, or a list of batches.")

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch: the loader's batches."""
        assert isinstance(self.images.given, Sized)
        return len(self.images.given)

    @property
    def batch_size(self) -> int:
        """Images of a step, about."""
        return len(self.images) // self.steps

    def epoch(self, number: int, first_step: int = 0) -> Iterator[list[Part]]:
        """The rest of epoch ``number`` from ``first_step`` on, each step in one part."""
        torch.manual_seed(generator(self.seed, number).initial_seed())  # what a shuffling loader draws from
        for step, (images, labels) in enumerate(map(read_batch, self.images.given)):
            if step >= first_step:
                known = check_labels(labels, len(images), len(self.images.classes))
                yield [(images.to(self.device), known.to(self.device))]
