"""Heads whose weights share magnitudes: fitted under that constraint, and held to it while the network is trained.

Filters are standardised, x_j = (r_j - mean_j) / deviation_j, and a class's weight for each of its filters is
``shared``: ± one magnitude of the class; ``ternary``: ± one magnitude of all classes; ``binary``: + one magnitude of
all classes, without biases. So a head is its signs, and very few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..networks.head import Head
from ..selections.form import HeadForm
from ._objective import IMAGES, HeadProblems

Few: TypeAlias = Float[Tensor, "h 1 f"]
Free: TypeAlias = Float[Tensor, "h p m1"]


class Scale(NamedTuple):
    """Every filter's ``mean`` and ``deviation`` over the images that a head is fitted to; 0 where it does not vary."""

    mean: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]

    @classmethod
    def of(cls, responses: Float[Tensor, "n k"]) -> Scale:
        """Those of ``responses``, in float64, read in chunks."""
        sums = torch.zeros(responses.shape[1], dtype=torch.float64, device=responses.device)
        squares = torch.zeros_like(sums)
        for part in torch.split(responses, IMAGES):
            sums += part.double().sum(0)
        mean = sums / len(responses)
        for part in torch.split(responses, IMAGES):
            squares += (part.double() - mean).square().sum(0)
        deviation = (squares / len(responses)).sqrt()
        return cls(mean, torch.where(deviation > 1e-12 * mean.abs(), deviation, 0.0))

    def raw(self, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"]) -> Head:
        """The head for responses as they are that a head for standardised ones amounts to."""
        unscaled = torch.where(self.deviation > 0, weight / self.deviation, 0.0)
        return Head(unscaled, bias - unscaled @ self.mean)


class FormedProblems:
    """The problems of ``free``, whose weights and biases now follow from a few numbers a head, linearly.

    Packed parameters ``(H, 1, M)``: the magnitudes (one for each of the P classes, or one for all), then, but for
    ``binary``, the P biases of standardised filters. ``heads`` give the signs.
    """

    def __init__(self, free: HeadProblems, heads: Sequence[Head], form: HeadForm, scale: Scale) -> None:
        self.free, self.classes = free, len(free.present)
        self.magnitudes = self.classes if form == "shared" else 1
        self.biased = form != "binary"
        weights = torch.stack([head.weight.detach().to(free.device).double() for head in heads])
        scale = Scale(*(whole.to(free.device) for whole in scale))
        signs = torch.where(weights < 0, -1.0, 1.0) if form != "binary" else torch.ones_like(weights)
        inverse = torch.where(scale.deviation > 0, 1 / scale.deviation, 0.0)
        patterns = (signs * inverse.expand_as(signs))[:, free.present]
        self.patterns = patterns.gather(2, free.filters) * free.used  # (H, P, m), of magnitude 1
        self.shifts = -(self.patterns * scale.mean[free.filters]).sum(2)  # the bias that centres the filters
        biases = torch.stack([head.bias.detach().to(free.device).double() for head in heads])
        self.started = self._start(weights[:, free.present], biases[:, free.present])

    def _start(self, weights: Float[Tensor, "h p k"], biases: Float[Tensor, "h p"]) -> Few:
        """The nearest of the form to the heads given."""
        chosen = weights.gather(2, self.free.filters)
        length = self.patterns.square().sum(2)
        along = (chosen * self.patterns).sum(2)
        if self.magnitudes == 1:
            along, length = along.sum(1, keepdim=True), length.sum(1, keepdim=True)
        magnitude = along / length.clamp(min=1e-30)
        offsets = biases - magnitude * self.shifts
        return torch.cat([magnitude, *([offsets] if self.biased else [])], 1)[:, None]

    def expand(self, packed: Few, which: Int64[Tensor, " h"]) -> Free:
        """The weights and biases as ``free`` packs them."""
        magnitude = packed[:, 0, : self.magnitudes].expand(-1, self.classes)
        bias = magnitude * self.shifts[which]
        if self.biased:
            bias = bias + packed[:, 0, self.magnitudes :]
        return torch.cat([magnitude[..., None] * self.patterns[which], bias[..., None]], 2)

    def gradient(self, packed: Few, which: Int64[Tensor, " h"]) -> tuple[Few, Float[Tensor, " h"]]:
        """Gradient and loss, by the chain rule."""
        found, loss = self.free.gradient(self.expand(packed, which), which)
        along = (found[..., :-1] * self.patterns[which]).sum(2) + found[..., -1] * self.shifts[which]
        return self._packed(along, found[..., -1]), loss

    def curvature(self, packed: Few, which: Int64[Tensor, " h"]) -> Tensor:
        """The diagonal of the Hessian, classes taken one by one."""
        factors = self.free.curvature(self.expand(packed, which), which)
        along = torch.cat([self.patterns[which], self.shifts[which][..., None]], 2)
        if factors.dim() == along.dim():  # the diagonal alone
            return self._packed((factors * along.square()).sum(2), factors[..., -1])
        of_biases = factors[..., -1, :].square().sum(-1)
        return self._packed((factors.mT @ along[..., None])[..., 0].square().sum(2), of_biases)

    def _packed(self, magnitudes: Float[Tensor, "h p"], biases: Float[Tensor, "h p"]) -> Few:
        summed = magnitudes.sum(1, keepdim=True) if self.magnitudes == 1 else magnitudes
        return torch.cat([summed, *([biases] if self.biased else [])], 1)[:, None]


class _Scaled(nn.Module):
    """Rows ``(C, K)`` as they are, times one factor each, or one for all."""

    rows: Float[Tensor, "c k"]

    def __init__(self, rows: Float[Tensor, "c k"], factors: int) -> None:
        super().__init__()
        self.register_buffer("rows", rows.detach().clone())
        self.factors = factors

    def forward(self, factor: Float[Tensor, " f"]) -> Float[Tensor, "c k"]:
        return self.rows * factor[:, None]

    def right_inverse(self, rows: Float[Tensor, "c k"]) -> Float[Tensor, " f"]:
        """The factors that leave the rows as they are."""
        return torch.ones(self.factors, dtype=rows.dtype, device=rows.device)


def hold_form(linear: nn.Linear, form: HeadForm) -> None:
    """Let training change no more of ``linear`` than keeps its ``form``; ``release_form`` makes it plain again.

    That is the length of every class's row (shared), of all rows together (ternary), or nothing (binary), and biases
    but for the last. The filters' means and deviations are those that the head was fitted with.
    """
    if form == "binary":
        linear.requires_grad_(False)
    elif form != "real":
        scaled = _Scaled(linear.weight, len(linear.weight) if form == "shared" else 1)
        parametrize.register_parametrization(linear, "weight", scaled)


def release_form(linear: nn.Linear) -> None:
    """Make a parameter of the weight that ``hold_form`` has held."""
    if parametrize.is_parametrized(linear, "weight"):
        parametrize.remove_parametrizations(linear, "weight")
    linear.requires_grad_(True)
