"""Copies of networks, also of those that hold what torch itself will not copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError


def copy_of(module: nn.Module) -> nn.Module:
    """A deep copy. Tensors that a forward pass has left in it are copied without how they came about.

    Such are the weights of ``nn.utils.prune`` and of the older weight and spectral norms, and feature maps that a
    module keeps. Raises ConfigError, which names the module, for a scripted network and for what cannot be copied.
    """
    refuse_scripted(module)
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed(module)}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever a module's parts may raise
        name, part = _first_uncopied(module)
        where = f"its module {name!r} ({type(part).__name__})" if name else type(part).__name__
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"The network cannot be copied, because {where} cannot: {reason}. Keep open files, locks and the like out "
            "of its modules, or give the class a __deepcopy__ method."
        ) from error


def refuse_scripted(module: nn.Module) -> None:
    """Raise ConfigError where a part is TorchScript: what happens inside shows no layers."""
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"Its module {name!r}" if name else "The network"
            raise ConfigError(
                f"{where} is scripted (TorchScript), so nobody can look at its layers. Give the nn.Module that it was "
                "made from."
            )


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """The tensors with a history among the attributes of all modules, and in their lists, tuples and dicts."""
    waiting: list[tuple[Any, int]] = [(value, 0) for part in module.modules() for value in vars(part).values()]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Tensor):
            if value.grad_fn is not None:
                yield value
        elif depth < 3 and isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif depth < 3 and isinstance(value, list | tuple):
            waiting += [(inner, depth + 1) for inner in value]


def _first_uncopied(module: nn.Module) -> tuple[str, nn.Module]:
    """The innermost module that cannot be copied by itself, and its name."""
    found: tuple[str, nn.Module] = ("", module)
    for name, part in module.named_modules():
        try:
            copy.deepcopy(part, {id(tensor): tensor.detach().clone() for tensor in _computed(part)})
        except Exception:
            found = (name, part)  # parents come before their children
    return found
