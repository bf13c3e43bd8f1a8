"""Networks inside wrappers: compiled ones, those spread over devices, and moving averages of weights."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from .copies import copy_of, refuse_scripted

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)


def unwrapped(module: nn.Module) -> nn.Module:
    """The network itself: inside ``torch.compile``, DataParallel, DistributedDataParallel and moving averages.

    What they add is speed, or another way to the same weights; layers are named as inside. A network of which parts are
    compiled is copied without that: hooks do not see into compiled code. Raises ConfigError for a scripted network.
    """
    refuse_scripted(module)
    while (inner := _compiled(module) or _averaged_or_spread(module)) is not None:
        module = inner
    if any(_compiled(child) is not None for child in module.modules()):
        module = copy_of(module)
        for name, child in list(module.named_modules()):
            if (inner := _compiled(child)) is not None:
                module.set_submodule(name.replace("_orig_mod.", ""), inner)
    return module


def _compiled(module: nn.Module) -> nn.Module | None:
    """What ``torch.compile`` has wrapped; its type is not asked for, as that would import the compiler."""
    return module._modules.get("_orig_mod")


def _averaged_or_spread(module: nn.Module) -> nn.Module | None:
    """The network in a wrapper of torch's, or in a moving average of somebody's library, such as timm's ModelEmaV3."""
    inner = module._modules.get("module")
    name = type(module).__name__.lower()
    own = isinstance(module, _WRAPPERS) or "ema" in name or "averag" in name
    return inner if own else None
