"""The settings of fine-tuning, validated."""

from __future__ import annotations

from dataclasses import replace

from ..training.recipe import FINE_TUNE, Recipe
from .train_config import RecipeConfig


class FinetuneConfig(RecipeConfig):
    """How to fine-tune a run's decomposed network. ``no_refit`` starts from the head as it was before its refit."""

    epochs: int | None = None
    no_refit: bool = False

    def finetune_recipe(self, *, flip: bool = True) -> Recipe:
        """The paper's recipe with what was given put into it; ``flip`` is the dataset's own."""
        return self.recipe(replace(FINE_TUNE, flip=flip), self.epochs)
