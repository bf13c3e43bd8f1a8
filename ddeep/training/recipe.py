"""How to train: a recipe is everything about it that is not the network, the images or the machine."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..errors import ConfigError

Optimizer = Literal["sgd", "adam"]
Schedule = Literal["one-cycle", "cosine", "constant"]
TrainingPrecision = Literal["fp32", "bf16", "fp16"]
Tracker = Literal["none", "tensorboard", "wandb"]

_WARM_UP = 0.3  # the share of a one-cycle schedule in which the rate rises
_START = 25.0  # it starts at lr / 25


@dataclass(frozen=True)
class Recipe:
    """One training run. ``FROM_SCRATCH`` and ``FINE_TUNE`` are two good ones.

    ``batch_size`` counts the images of an optimizer step, over all processes and all ``accumulate`` parts of it, so
    that a recipe means the same on any machine. ``lr`` is the highest rate of the schedule. ``momentum`` (Nesterov) is
    SGD's; weight decay spares biases and norms. ``crop_padding`` pixels of black are padded around before a random
    crop (0: no crop); ``flip`` mirrors half of the images. ``ema`` is the decay per step of a moving average of the
    weights, which is then what training returns (0: none).
    """

    epochs: int
    lr: float
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "one-cycle"
    batch_size: int = 128
    accumulate: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop_padding: int = 4
    flip: bool = True
    ema: float = 0.0
    precision: TrainingPrecision = "fp32"

    def __post_init__(self) -> None:
        for name, kinds in (("optimizer", Optimizer), ("schedule", Schedule), ("precision", TrainingPrecision)):
            _require(getattr(self, name) in get_args(kinds), self, name, f"one of {', '.join(get_args(kinds))}")
        for name in ("epochs", "batch_size", "accumulate"):
            _require(getattr(self, name) >= 1, self, name, "1 or more")
        _require(0 < self.lr < math.inf, self, "lr", "a positive number")
        _require(0 <= self.weight_decay < math.inf, self, "weight_decay", "0 or more")
        _require(self.crop_padding >= 0, self, "crop_padding", "0 or more pixels")
        for name in ("momentum", "label_smoothing", "ema"):
            _require(0 <= getattr(self, name) < 1, self, name, "at least 0 and below 1")

    def learning_rate(self, progress: float) -> float:
        """The rate when ``progress`` (0…1) of all steps is done."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "cosine":
            return self.lr * _falling(progress)
        if progress < _WARM_UP:
            low = self.lr / _START
            return low + (self.lr - low) * (1 - _falling(progress / _WARM_UP))
        return self.lr * _falling((progress - _WARM_UP) / (1 - _WARM_UP))

    def identity(self) -> dict[str, Any]:
        """The settings as JSON-ready data."""
        return asdict(self)


def _falling(x: float) -> float:
    """Half a cosine, from 1 at x = 0 to 0 at x = 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, x)))


def _require(fine: bool, recipe: Recipe, name: str, expected: str) -> None:
    if not fine:
        raise ConfigError(f"{name} = {getattr(recipe, name)!r} does not do: it must be {expected}.")


# Smith & Topin 2018: one cycle, here of 40 epochs.
FROM_SCRATCH = Recipe(epochs=40, lr=0.3)
# Badola et al. 2023: Adam at 2e-4, batches of 256. The average of the weights is ours: a constant rate ends noisy.
FINE_TUNE = Recipe(epochs=1, lr=2e-4, optimizer="adam", schedule="constant", batch_size=256, weight_decay=0.0, ema=0.99)
