"""What a recipe's steps are taken with: the optimizer, and the moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..errors import ConfigError
from .objective import Objective
from .recipe import Recipe

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(objective: Objective, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay is for the network's weights: not for biases and norms, nor for what a regularizer learns."""
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    decayed = {parameter for parameter in objective.module.parameters() if parameter.ndim > 1}
    groups = [
        {"params": [p for p in trained if p in decayed], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError("The network has no parameters to train.")
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def make_moving_average(module: nn.Module, decay: float) -> AveragedModel | None:
    """An average of weights and buffers that each step moves towards the module; None for a decay of 0.

    The t-th step moves it by 4 / (t + 3) at first and by 1 - ``decay`` once that is more: an average over the last
    quarter of so few steps, not one of where they began (Shamir & Zhang, ICML 2013, polynomial-decay averaging, η = 3).
    """
    if not decay:
        return None

    @torch.no_grad()
    def update(averages: Tensors, currents: Tensors, steps: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, currents)
            return
        share = (4 / (torch.as_tensor(steps) + 4)).clamp(min=1 - decay).to(averages[0].dtype)
        for average, current in zip(averages, currents, strict=True):
            average.lerp_(current, share)

    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)
