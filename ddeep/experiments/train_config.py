"""The settings of ``ddeep train``, validated; a config file holds the same names."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..training.accelerator import Tracker
from ..training.recipe import FINE_TUNE, FROM_SCRATCH, Optimizer, Recipe, Schedule, TrainingPrecision
from ..training.regularizers import RegularizerConfig
from .settings import three_numbers


class RecipeConfig(BaseModel):
    """The settings of a recipe; what is left out is the default recipe's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    crop_padding: int | None = None
    flip: bool | None = None
    ema: float | None = None
    precision: TrainingPrecision | None = None
    regularizer: str | None = None
    alpha: float | None = None
    regularizer_options: dict[str, float] = Field(default_factory=dict)
    layers: tuple[str, ...] = ()
    device: str = "auto"
    tracker: Tracker = "none"
    seed: int = Field(default=0, ge=0, lt=2**63)

    @field_validator("regularizer_options", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(pair, str) for pair in value):
            return value
        return dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in value)

    def recipe(self, default: Recipe, epochs: int | None = None) -> Recipe:
        """``default`` with what was given put into it."""
        given = {field.name: getattr(self, field.name, None) for field in fields(Recipe)} | {"epochs": epochs}
        return replace(default, **{name: value for name, value in given.items() if value is not None})

    def regularizer_config(self) -> RegularizerConfig | None:
        """The regularizer that was asked for, if any."""
        if self.regularizer is None:
            return None
        alpha = {} if self.alpha is None else {"alpha": self.alpha}
        return RegularizerConfig(self.regularizer, {**self.regularizer_options, **alpha}, self.layers)


class TrainConfig(RecipeConfig):
    """What to train, on what, and how. ``mean``, ``std`` and ``size`` left out are those of the train split.

    ``pretrained`` starts from weights (``weights``: a file or a name; default: the model's own for the dataset), keeps
    their preprocessing, and takes the fine-tuning recipe for what is left out.
    """

    model: str
    dataset: str
    data_dir: Path = Path("data")
    epochs: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    size: int | None = Field(default=None, ge=1)
    out: Path | None = None
    pretrained: bool = False
    weights: str | None = None

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _three_numbers(cls, value: Any) -> Any:
        return three_numbers(value)

    def training_recipe(self, *, flip: bool = True) -> Recipe:
        """The recipe of this run; ``flip`` is the dataset's own."""
        return self.recipe(replace(FINE_TUNE if self.pretrained else FROM_SCRATCH, flip=flip), self.epochs)
