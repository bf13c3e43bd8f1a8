"""The decomposed head: the final linear layer with each class restricted to its own filters."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import ConfigError, SelectionError
from ..networks.copies import copy_of
from ..networks.head import Head, fitting_head, get_head
from ..networks.wrappers import unwrapped
from ..selections.selection import Selection

# A sparse product is faster from about these on: weights of the dense head, and the share of them in the mask.
SPARSE_FROM, SPARSE_SHARE = 2**15, 0.25


class DecomposedLinear(nn.Linear):
    """z_c = b_c + Σ_{j ∈ selection(c)} W_cj r_j: a linear layer ``(…, K) -> (…, C)`` with a fixed 0/1 mask.

    Weights outside the mask are zero and get no gradient. Without gradients, wide heads on the CPU are computed from
    the selected weights alone, many times faster (docs/cost.md); else the product is dense, the mask applied.
    """

    mask: Bool[Tensor, "c k"]
    _row_ends: Tensor  # the mask in compressed rows, and the places of its weights
    _columns: Tensor
    _places: Tensor

    def __init__(
        self, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"] | None, mask: Bool[Tensor, "c k"]
    ) -> None:
        check_fits(mask.shape[0], mask.shape[1], weight)
        super().__init__(weight.shape[1], weight.shape[0], device="meta")
        self.weight = nn.Parameter(weight.detach() * mask)
        self.bias = nn.Parameter(torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().clone())
        self.register_buffer("mask", mask)
        for name in ("_row_ends", "_columns", "_places"):
            self.register_buffer(name, None, persistent=False)
        self._compress()

    def forward(self, input: Float[Tensor, "*n k"]) -> Float[Tensor, "*n c"]:  # nn.Linear's own name
        """Logits of every class from the responses ``input``, each from its own filters."""
        if self._row_ends is None or self._needs_dense(input):
            return F.linear(input, self.weight * self.mask, self.bias)
        logits = torch.addmm(self.bias, input.reshape(-1, self.in_features), self._selected())
        return logits.reshape(*input.shape[:-1], self.out_features)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._compress()

    def _compress(self) -> None:
        """Note where the mask is set, if a sparse product is worth it."""
        mask = self.mask
        able = mask.device.type == "cpu" and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        if not able or mask.numel() < SPARSE_FROM or int(mask.sum()) > SPARSE_SHARE * mask.numel():
            self._row_ends = self._columns = self._places = None  # type: ignore[assignment]
            return
        self._row_ends = F.pad(mask.sum(1).cumsum(0), (1, 0))
        self._places = mask.flatten().nonzero()[:, 0]
        self._columns = self._places % mask.shape[1]
        with warnings.catch_warnings():  # torch says once that its sparse tensors are new
            warnings.simplefilter("ignore", UserWarning)
            self._selected()

    def _selected(self) -> Tensor:
        """The selected weights as a sparse matrix (K, C): the rows of (C, K) are its columns."""
        values, shape = self.weight.detach().take(self._places), (self.in_features, self.out_features)
        return torch.sparse_csc_tensor(self._row_ends, self._columns, values, shape, check_invariants=False)

    def _needs_dense(self, input: object) -> bool:
        """Whether gradients are recorded, or this is no plain product of float32 on the CPU."""
        if not isinstance(input, Tensor) or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return True  # a tracer's stand-in, or lower precision
        plain = input.device.type == "cpu" and input.dtype == self.weight.dtype and self.weight.device.type == "cpu"
        return not plain or (torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad))

    def extra_repr(self) -> str:
        counts = self.mask.sum(1)
        return f"{self.in_features}, {self.out_features}, {int(counts.min())} to {int(counts.max())} filters a class"


def check_fits(classes: int, filters: int, weight: Float[Tensor, "c k"]) -> None:
    """Raise SelectionError unless a selection of these sizes fits a head with this ``weight``."""
    if (classes, filters) != tuple(weight.shape):
        raise SelectionError(
            f"The selection is for {classes} classes and {filters} filters, but the head has {weight.shape[0]} outputs "
            f"and {weight.shape[1]} inputs. Select at the layer that feeds the head."
        )


def head_of(selection: Selection) -> str | None:
    """The head that the selection says it was made for; None where it says nothing.

    Raises ConfigError where it was made at a layer that feeds none.
    """
    name: object = selection.source.get("head")
    if isinstance(name, str):
        return name
    if "head" in selection.source:
        layer = str(selection.source.get("layer"))[:60]
        raise ConfigError(
            f"The selection was made at layer {layer!r}, which does not feed the head, so it does not say what to "
            "decompose. Select at the layer that feeds the head, or name the head with head=."
        )
    return None


@torch.inference_mode(mode=False)  # what is made in it could never be trained
def decompose(module: nn.Module, selection: Selection, *, head: str | None = None, learned: bool = False) -> nn.Module:
    """Return a copy of ``module`` whose final linear layer lets each class see only its selected filters.

    ``head`` is the dotted name of that layer: by default the one that the selection was made for, or else the only one
    of its size. It keeps the weights it has, or takes those of the head that the strategy has ``learned`` along with
    the selection. Raises SelectionError where the selection does not fit it, or has no learned head, and ConfigError
    where it is unknown which layer is the head.
    """
    module = unwrapped(module)
    name = head or head_of(selection) or fitting_head(module, len(selection.filters), selection.num_filters)
    decomposed = copy_of(module)
    linear = get_head(decomposed, name)
    check_fits(len(selection.filters), selection.num_filters, linear.weight)
    selection.check()
    dense = Head.of(linear)
    weight, bias = selection.learned_head(dense) if learned else dense
    decomposed.set_submodule(name, DecomposedLinear(weight, bias, selection.mask(weight.device)))
    return decomposed
