"""A decomposed network without ddeep: the same logits from modules of torch alone."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data.preprocessing import Preprocessing
from ..networks.copies import copy_of
from ..networks.head import Head, get_head
from ..networks.logits import read_logits
from ..selections.members import members
from .cost import least_seconds

HeadLayout = Literal["dense", "gathered"]


def plain_network(module: nn.Module, head: str, layout: HeadLayout = "dense") -> nn.Module:
    """A copy of ``module`` in eval mode on the CPU whose head needs no ddeep.

    ``dense`` is an ``nn.Linear`` with zeros where a class does not see a filter: its state dict fits the architecture
    strictly. ``gathered`` holds only the weights that are not zero, padded to the class with the most.
    """
    made = copy_of(module).cpu().eval()
    weight, bias = (part.detach().clone() for part in Head.of(get_head(made, head)))
    replaced: nn.Module = GatheredLinear(weight, bias) if layout == "gathered" else _linear(weight, bias)
    made.set_submodule(head, replaced.eval())
    return made


class GatheredLinear(nn.Module):
    """z_c = b_c + Σ_i weight[c, i] · r[index[c, i]]: a linear layer ``(N, K) -> (N, C)`` from its non-zero weights.

    Classes with fewer weights than the most are padded with zeros at filter 0.
    """

    index: Int64[Tensor, "c s"]

    def __init__(self, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"]) -> None:
        super().__init__()
        index, taken = members(weight != 0)
        self.register_buffer("index", index)
        self.weight = nn.Parameter(weight.gather(1, index) * taken)
        self.bias = nn.Parameter(bias)

    def forward(self, responses: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Logits from ``responses``."""
        return (responses[:, self.index] * self.weight).sum(2) + self.bias


class FromPixels(nn.Module):
    """A network that takes the fitted pixels themselves, uint8 ``(N, S, S, 3)``, and normalises them."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits from ``pixels``."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        return read_logits(self.module((images - self.mean) / self.std))


def measure_head(weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"], batch: int = 64) -> dict[str, Any]:
    """Bytes and seconds a batch (the least of several) on this machine of both layouts, and the ``chosen`` one.

    The faster one is chosen, and the smaller where neither is faster by a tenth.
    """
    dense, gathered = _linear(weight, bias).eval(), GatheredLinear(weight, bias).eval()
    responses = torch.randn(batch, weight.shape[1], generator=torch.Generator().manual_seed(0))
    seconds = least_seconds({"dense": dense, "gathered": gathered}, responses)
    sizes = {"dense": _bytes(dense), "gathered": _bytes(gathered)}
    close = abs(seconds["dense"] - seconds["gathered"]) <= 0.1 * max(seconds.values())
    by = sizes if close else seconds
    chosen = min(("dense", "gathered"), key=lambda name: by[name])
    return {"chosen": chosen, "by": "bytes" if close else "seconds", "seconds": seconds, "bytes": sizes, "batch": batch}


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.load_state_dict({"weight": weight, "bias": bias})
    return made


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in module.state_dict().values())
