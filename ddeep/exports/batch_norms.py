"""Batch norms behind removed filters: their channels get the mean and spread that they had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.hooks import forward_hooks
from .cut import Channels

_Norm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def match_batch_norms(
    whole: nn.Module, small: nn.Module, left: Mapping[str, Channels], batches: Sequence[Tensor]
) -> None:
    """Let every batch norm of ``small``, in place, give on the images of ``batches`` what ``whole``'s gives there.

    Its running statistics are taken anew from them, each batch weighing the same, and its scale and shift are set so
    that every channel's output has the mean and spread that it has in ``whole``. Statistics alone would not do: those
    of the whole network are of all classes, and images of some of them are not at mean 0 and variance 1 behind its
    norms. So where nothing was removed nothing changes. ``left`` says which channels are left; norms without scale and
    shift stay as they are, and so do networks without batch norms.
    """
    norms = {name: part for name, part in small.named_modules() if isinstance(part, _Norm) and part.affine}
    if not norms:
        return
    moments = {name: _Moments() for name in norms}
    with forward_hooks(whole, {name: found.hook() for name, found in moments.items()}):
        for images in batches:
            whole(images)
    for name, norm in norms.items():
        old, kept = whole.get_submodule(name), list(left[name].kept)
        assert isinstance(old, _Norm)
        assert old.running_mean is not None
        assert old.running_var is not None
        mean, variance = (value.float()[kept] for value in moments[name].mean_and_variance())
        spread = (old.running_var[kept] + old.eps).sqrt()
        norm.weight.copy_(old.weight[kept] * (variance + old.eps).sqrt() / spread)
        norm.bias.copy_(old.bias[kept] + old.weight[kept] * (mean - old.running_mean[kept]) / spread)
    with _own_statistics(list(norms.values())):
        for images in batches:
            small(images)


class _Moments:
    """Of the inputs of a norm, channel by channel."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def hook(self) -> Callable[..., None]:
        def add(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Any) -> None:
            rows = inputs[0].double().transpose(0, 1).flatten(1)
            self.count += rows.shape[1]
            self.total, self.squares = self.total + rows.sum(1), self.squares + rows.square().sum(1)

        return add

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp_min(0)


@contextmanager
def _own_statistics(norms: list[_Norm]) -> Iterator[None]:
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    try:
        yield
    finally:
        for norm, before in zip(norms, momentum, strict=True):
            norm.momentum = before
            norm.eval()
