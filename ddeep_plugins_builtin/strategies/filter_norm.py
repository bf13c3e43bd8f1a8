"""L1 norm of a filter's own weights."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from ddeep.plugin import ConfigError, Context, Evidence, K

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Σ|w| over the weights of filter j, the same for every class.

    Li et al., Pruning filters for efficient ConvNets, ICLR 2017, section 3.1. The weights are those of the layer if
    it is a convolution or linear layer; of a block, those of the last one with K outputs that it holds directly
    (``conv2`` of a residual block, not its shortcut), or else of the last part of it that holds one.
    """
    found = last_weighted(context.module, evidence.filters)
    if found is None:
        raise ConfigError(
            f"Layer {evidence.layer.name!r} holds no convolution or linear layer with {evidence.filters} outputs, so "
            "its filters have no weights of their own. Choose the layer that computes them: `ddeep layers MODEL`."
        )
    norms = found.weight.detach().flatten(1).double().abs().sum(1).cpu()
    return norms.expand(evidence.classes, -1)


def last_weighted(module: nn.Module, filters: int) -> nn.Module | None:
    """The convolution or linear layer whose weights make ``filters`` outputs of ``module``; None if there is none."""
    if isinstance(module, WEIGHTED):
        return module if len(module.weight) == filters else None
    parts = list(module.children())
    direct = [part for part in parts if isinstance(part, WEIGHTED) and len(part.weight) == filters]
    inside = (last_weighted(part, filters) for part in reversed(parts))
    return direct[-1] if direct else next((found for found in inside if found is not None), None)
