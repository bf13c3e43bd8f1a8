"""The settings of ``ddeep train`` and ``ddeep finetune``."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from ...training.recipe import FINE_TUNE, FROM_SCRATCH, Optimizer, Recipe, Schedule, Tracker, TrainingPrecision
from .option import COMPUTE, EXAMINE, TRAIN, WRITE, option
from .runs import Several
from .subject import DeviceConfig, ImagesConfig, SeedConfig

if TYPE_CHECKING:
    from ...training.regularizers import RegularizerConfig


def _pairs(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(pair, str) for pair in value):
        return value
    return dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in value)


class RecipeConfig(SeedConfig, DeviceConfig):
    """The settings of a recipe; what is left out is the default recipe's."""

    epochs: int | None = option(None, TRAIN, "Passes over the train split.")
    lr: float | None = option(None, TRAIN, "The highest learning rate of the schedule.")
    optimizer: Optimizer | None = option(None, TRAIN, "sgd (Nesterov) or adam.")
    schedule: Schedule | None = option(None, TRAIN, "one-cycle, cosine or constant.")
    batch_size: int | None = option(None, TRAIN, "Images of one optimizer step, over all processes.")
    accumulate: int | None = option(None, TRAIN, "Parts that a batch is computed in, to save memory.")
    momentum: float | None = option(None, TRAIN, "Of SGD.")
    weight_decay: float | None = option(None, TRAIN, "L2 on weights; biases and norms are spared.")
    label_smoothing: float | None = option(None, TRAIN, "0 (none) to below 1.")
    crop_padding: int | None = option(None, TRAIN, "Pixels padded before a random crop; 0: none.")
    flip: bool | None = option(None, TRAIN, "Mirror half of the images (default: as suits the dataset).")
    ema: float | None = option(None, TRAIN, "Decay of a moving average of the weights; 0: none.")
    regularizer: str | None = option(
        None, TRAIN, "A term of the loss: `ddeep list regularizers`.", complete="regularizers"
    )
    alpha: float | None = option(None, TRAIN, "The regularizer's strength, and its sign.")
    regularizer_options: Annotated[dict[str, float], BeforeValidator(_pairs)] = option(
        {}, TRAIN, "Other options of the regularizer: NAME=NUMBER."
    )
    layers: Several = option((), TRAIN, "Layers for the regularizer: names or globs.")
    precision: TrainingPrecision | None = option(None, COMPUTE, "fp32, bf16 or fp16 (CUDA).")
    tracker: Tracker = option("none", WRITE, "none, tensorboard or wandb.")

    def recipe(self, default: Recipe) -> Recipe:
        """``default`` with what was given put into it."""
        given = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        return replace(default, **{name: value for name, value in given.items() if value is not None})

    def regularizer_config(self) -> RegularizerConfig | None:
        """The regularizer that was asked for, if any."""
        from ...training.regularizers import RegularizerConfig

        if self.regularizer is None:
            return None
        alpha = {} if self.alpha is None else {"alpha": self.alpha}
        return RegularizerConfig(self.regularizer, {**self.regularizer_options, **alpha}, self.layers)


class TrainConfig(RecipeConfig, ImagesConfig):
    """What to train, on what, and how. How images are prepared, where left out, follows from the train split.

    ``pretrained`` starts from weights (``weights``: a file or a name; default: the model's own for the dataset), keeps
    their preprocessing, and takes the fine-tuning recipe for what is left out.
    """

    model: str = option(
        ..., EXAMINE, "Architecture: `ddeep list models`; or code of your own, FILE.py:NAME.", complete="models"
    )
    dataset: str = option(..., EXAMINE, "Images: `ddeep list datasets`, hf:PATH, wds:PATTERN.", complete="datasets")
    pretrained: bool = option(False, EXAMINE, "Start from trained weights, with the recipe of fine-tuning.")
    weights: str | None = option(None, EXAMINE, "With --pretrained: a weights file, or the name of the model's own.")
    out: Path | None = option(None, WRITE, "Folder to write (default: one of its own under runs/).")

    def training_recipe(self, *, flip: bool = True) -> Recipe:
        """The recipe of this run; ``flip`` is the dataset's own."""
        return self.recipe(replace(FINE_TUNE if self.pretrained else FROM_SCRATCH, flip=flip))


class FinetuneConfig(RecipeConfig):
    """How to fine-tune a run's decomposed network."""

    no_refit: bool = option(False, TRAIN, "Start from the decomposed head as it is, not from its refit.")

    def finetune_recipe(self, *, flip: bool = True) -> Recipe:
        """The paper's recipe with what was given put into it; ``flip`` is the dataset's own."""
        return self.recipe(replace(FINE_TUNE, flip=flip))
