"""Where and how precisely a network runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError

Precision = Literal["fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``; an error where it is absent."""
    available = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    if name == "auto":
        return torch.device(available[-1])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"Unknown device {name!r}. Use one of: auto, {', '.join(available)}.") from None
    if device.type not in available or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ConfigError(f"Device {name!r} is not available here. Use one of: auto, {', '.join(available)}.")
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision for one whole pass; nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


CPU = torch.device("cpu")


def exact_device(device: torch.device | str) -> torch.device:
    """Where float64 sums are kept: the device itself, or the CPU for devices without float64."""
    device = torch.device(device)
    return CPU if device.type == "mps" else device


def brought(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device`` where it takes at most half of what is free there; else as it is, read in parts."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.to(device) if 2 * tensor.nbytes <= torch.cuda.mem_get_info(device)[0] else tensor
