"""Accelerate underneath training: the device, mixed precision, gradient accumulation, several processes, trackers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from ..errors import ConfigError
from ..networks.device import resolve_device
from .recipe import Recipe, Tracker


def make_accelerator(
    recipe: Recipe, device: str = "auto", tracker: Tracker = "none", folder: Path | None = None
) -> Accelerator:
    """An Accelerator for one training run. ``folder`` is where a tracker may write.

    ``device`` ``auto`` is accelerate's choice, as is everything under torchrun or accelerate launch.
    """
    wanted = resolve_device(device)
    if recipe.precision == "fp16" and wanted.type != "cuda":
        raise ConfigError(f"fp16 needs a CUDA device, not {wanted.type!r}. Choose bf16 or fp32.")
    if tracker != "none" and find_spec(tracker) is None:
        raise ConfigError(f"The tracker {tracker!r} is not installed. Install it with: pip install {tracker}")
    # The state is global and survives its Accelerator; a second run in this process may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)
    accelerator = Accelerator(
        cpu=device == "cpu" or (device == "auto" and wanted.type == "cpu"),
        mixed_precision="no" if recipe.precision == "fp32" else recipe.precision,
        gradient_accumulation_steps=recipe.accumulate,
        log_with=None if tracker == "none" else tracker,
        project_dir=folder,
    )
    if accelerator.device.type != wanted.type:
        raise ConfigError(f"Device {device!r} was asked for, but accelerate runs on {accelerator.device.type!r}.")
    return accelerator
