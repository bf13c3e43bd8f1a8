"""A copy of a network made ready for fast, exact forward passes: batch norms folded, channels last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .copies import copy_of
from .hooks import ResponseHooks
from .layer import Layer, close
from .wrappers import unwrapped

FOLDING_TOLERANCE = 1e-4


def prepare(
    module: nn.Module, layers: Collection[Layer], device: torch.device, example: Tensor | None = None
) -> nn.Module:
    """Return a copy of ``module`` in eval mode on ``device``, as fast as exactness allows.

    Batch norms are folded only where neither the convolution nor the norm is itself a requested layer (inside one they
    may be: what comes out of it stays the same), and only if logits and responses to ``example`` stay within 1e-4.
    """
    plain = copy_of(unwrapped(module)).eval().to(device)
    channels_last = any(isinstance(m, nn.Conv2d) for m in plain.modules())
    if channels_last:
        plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if example is None:
        return plain
    folded = _fold_batch_norms(copy_of(plain), {layer.name for layer in layers})
    if folded is None:
        return plain
    return folded if _same_responses(plain, folded, layers, example.to(device)) else plain


def batch_bound(module: nn.Module) -> list[str]:
    """The layers whose output for an image depends on the others in its batch, in eval mode, too.

    Those are batch norms that keep no running statistics: they take those of each batch.
    """
    norms = nn.modules.batchnorm._BatchNorm
    return [name for name, part in module.named_modules() if isinstance(part, norms) and part.running_mean is None]


def batch_warning(layers: Sequence[str], size: str) -> str:
    """What to say of such layers where images come in batches of ``size``."""
    shown = ", ".join(layers[:5]) + (", …" if len(layers) > 5 else "")
    return (
        f"These batch norms keep no running statistics: {shown}. Every figure depends on which images share a batch "
        f"({size}, in the order of the dataset). Train with track_running_stats=True for figures that do not."
    )


def _fold_batch_norms(module: nn.Module, keep: Collection[str]) -> nn.Module | None:
    """Fold every batch norm that alone follows a convolution; None where there is nothing to fold."""
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception:  # control flow that depends on data; tracing may fail in any way
        return None
    modules = dict(module.named_modules())
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or not _is_foldable(modules[str(node.target)]):
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        convolution, norm = str(source.target), str(node.target)
        once = uses[source.target] == 1 and uses[node.target] == 1
        plain = type(modules[convolution]) is nn.Conv2d and not modules[convolution]._forward_pre_hooks
        if plain and once and not {convolution, norm} & set(keep):  # a hook may make the weights anew at every call
            pairs.append((convolution, norm))
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(modules[convolution], modules[norm])
        module.set_submodule(convolution, fused)
        module.set_submodule(norm, nn.Identity())
    return module if pairs else None


def _is_foldable(module: nn.Module) -> bool:
    """Whether it is a batch norm with statistics of its own; without, it takes those of each batch."""
    return type(module) is nn.BatchNorm2d and module.running_mean is not None


def _same_responses(plain: nn.Module, folded: nn.Module, layers: Collection[Layer], example: Tensor) -> bool:
    with (
        torch.no_grad(),
        ResponseHooks(plain, layers, {"logits"}) as one,
        ResponseHooks(folded, layers, {"logits"}) as other,
    ):
        pairs = [(one.run(example), other.run(example))]
    pairs += [(one.responses[layer.name], other.responses[layer.name]) for layer in layers]
    return all(a is not None and b is not None and close(a, b, FOLDING_TOLERANCE) for a, b in pairs)
