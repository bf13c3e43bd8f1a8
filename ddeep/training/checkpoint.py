"""The state of a training run in one safetensors file, written whole: tensors, and the rest as JSON in its header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import console
from ..errors import CacheError
from ..files.json import parse_object
from ..files.regular import require_readable
from ..files.tensors import write_tensors

SCHEMA = "ddeep.checkpoint/1"
CHECKPOINT = "checkpoint.safetensors"  # its name in a run directory


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by part (``model``, ``optimizer``, …) and name; ``facts`` is JSON-ready."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Replace the checkpoint at ``path``; a failure (a full disk, say) leaves the one before it."""
        flat = {f"{part}/{name}": tensor for part, named in self.tensors.items() for name, tensor in named.items()}
        write_tensors(flat, path, {"schema": SCHEMA, "facts": json.dumps(self.facts)})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what ``write`` wrote. Raises CacheError for anything else."""
        try:
            require_readable(path)
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                if header.get("schema") != SCHEMA:
                    raise CacheError(f"{path} is not a training checkpoint of this version of ddeep ({SCHEMA}).")
                tensors: dict[str, dict[str, Tensor]] = {}
                for key in file.keys():  # noqa: SIM118 - not a dict
                    part, _, name = key.partition("/")
                    tensors.setdefault(part, {})[name] = file.get_tensor(key)
            return cls(tensors, parse_object(header.get("facts", "")))
        except FileNotFoundError:
            raise CacheError(f"There is no checkpoint at {path} to resume from. Train without resuming.") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise CacheError(
                f"The checkpoint {path} cannot be read: {error}. Remove it, and --resume begins anew."
            ) from None


def can_resume(folder: Path) -> bool:
    """Whether there is a checkpoint in ``folder``; says so where training was killed before its first."""
    there = os.path.lexists(folder / CHECKPOINT)
    if (folder / CHECKPOINT).is_symlink():
        raise CacheError(f"{folder / CHECKPOINT} is a link, not ddeep's own. Remove it, and --resume begins anew.")
    if not there:
        console.note(f"Nothing had been saved in {folder} yet: training begins anew.")
    return there


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's per-parameter state, one tensor for each, named ``<parameter number>.<key>``."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": value for number, named in state.items() for key, value in named.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer back what ``optimizer_tensors`` took, in the memory layout of its parameters.

    Another layout would run other kernels, which round differently.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        like = parameters[int(number)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[name] = laid_out
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
