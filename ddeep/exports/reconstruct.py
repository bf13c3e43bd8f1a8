"""Weights for what is left: layers that lost inputs give their old outputs again, as well as they can.

The least-squares reconstruction of He, Zhang & Sun, Channel pruning for accelerating very deep neural networks, ICCV
2017, section 3, after each layer in turn, so that later ones make up for what earlier ones could not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..networks.hooks import forward_hooks
from ..networks.layer import INPUT
from .cut import Channels

POSITIONS = 16  # of every image and layer that are compared
RIDGE = 1e-2  # of the mean squared input: holds the weights near what they were


@torch.no_grad()
def reconstruct(
    whole: nn.Module, small: nn.Module, left: Mapping[str, Channels], layers: Sequence[str], batches: Sequence[Tensor]
) -> None:
    """Refit, in place, the weights of ``layers`` of ``small``, in the order in which they run.

    ``whole`` is the network that was cut and ``left`` what is left of its submodules. Every layer minimises
    ‖Y − XW‖² + λ‖W − W₀‖² over positions drawn from the images of ``batches``, Y being the whole network's outputs, X
    the small one's inputs and W₀ the weights it has; a bias is fitted along.
    """
    wanted = [_outputs(whole, layers, images, number) for number, images in enumerate(batches)]
    for name in layers:
        module = small.get_submodule(name)
        kept = torch.tensor(left[name].kept)
        products: list[tuple[Tensor, Tensor]] = []
        for number, images in enumerate(batches):
            given = _inputs(small, name, images, number)
            products.append((given.T @ given, given.T @ wanted[number][name][:, kept].double()))
        gram, moment = (sum(part[1:], part[0]) for part in zip(*products, strict=True))
        _fit(module, gram, moment)


def _fit(module: nn.Module, gram: Float[Tensor, "x x"], moment: Float[Tensor, "x o"]) -> None:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    before = module.weight.flatten(1).double()
    if module.bias is not None:
        before = torch.cat([before, module.bias[:, None].double()], 1)
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    fitted = torch.linalg.solve(gram + ridge, moment + ridge @ before.T).T
    if module.bias is not None:
        module.bias.copy_(fitted[:, -1])
        fitted = fitted[:, :-1]
    module.weight.copy_(fitted.reshape(module.weight.shape))


def _outputs(whole: nn.Module, layers: Sequence[str], images: Tensor, number: int) -> dict[str, Tensor]:
    """Rows ``(positions, channels)`` of what each layer gives."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Tensor) -> None:
            rows = output.flatten(2).transpose(1, 2) if isinstance(module, nn.Conv2d) else _tokens(output)
            found[name] = _drawn(rows, number)

        return hook

    with forward_hooks(whole, {name: keep(name) for name in layers}):
        whole(images)
    return found


def _inputs(small: nn.Module, name: str, images: Tensor, number: int) -> Float[Tensor, "p x"]:
    """Rows of what the layer reads, patch by patch, at the same positions; with ones for its bias."""
    found: list[Tensor] = []

    def hook(module: nn.Module, _inputs: tuple[Tensor, ...], given: Tensor) -> None:
        rows = _patches(module, given, number) if isinstance(module, nn.Conv2d) else _drawn(_tokens(given), number)
        found.append(rows.double())
        raise _Read

    with forward_hooks(small, {name + INPUT: hook}), suppress(_Read):
        small(images)
    ones = [torch.ones(len(found[0]), 1, dtype=torch.float64)] * (small.get_submodule(name).bias is not None)
    return torch.cat([found[0], *ones], 1)


class _Read(Exception):  # noqa: N818 - a jump out of the forward pass, not an error
    """What the layer reads is known; what it and all behind it give is not asked for."""


def _patches(module: nn.Conv2d, given: Float[Tensor, "n c h w"], number: int) -> Float[Tensor, "p x"]:
    """What a convolution reads at the drawn positions: of ``F.unfold``'s columns those alone."""
    assert not isinstance(module.padding, str)
    down, across = module.padding
    patches = F.pad(given, (across, across, down, down))
    sizes = zip((2, 3), module.kernel_size, module.dilation, module.stride, strict=True)
    for axis, size, dilation, stride in sizes:
        patches = patches.unfold(axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    high, wide = patches.shape[2:4]
    chosen = _chosen(len(given), high * wide, number)
    rows = patches[torch.arange(len(given))[:, None], :, chosen // wide, chosen % wide]
    return rows.flatten(2).flatten(0, 1)


def _tokens(values: Tensor) -> Float[Tensor, "n t k"]:
    return values.reshape(len(values), -1, values.shape[-1])


def _drawn(rows: Float[Tensor, "n t k"], number: int) -> Float[Tensor, "p k"]:
    """Some positions of every image."""
    chosen = _chosen(len(rows), rows.shape[1], number)
    return rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[2])).flatten(0, 1)


def _chosen(images: int, positions: int, number: int) -> Int64[Tensor, "n t"]:
    """Which positions of every image: the same ones for the same numbers and batch ``number``."""
    draw = torch.Generator().manual_seed(number)
    return torch.randint(0, positions, (images, min(POSITIONS, positions)), generator=draw)
