"""Run a network over a split once more, looking at one layer's maps or changing them on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batches import Batch
from ..data.images import Split
from ..data.loader import Loader
from ..networks.device import autocast
from ..networks.hooks import forward_hooks
from ..networks.inference import prepare
from ..networks.layer import Layer, check_output
from ..networks.logits import check_logits
from .context import Context, View, Visit
from .subject import Subject


def replay(subject: Subject, layer: Layer, split: Split, visit: Visit | None = None) -> Iterator[View]:
    """Every batch of ``split``, run on from what ``visit`` makes of the output of ``layer``."""
    module = prepare(subject.network.module, [layer], subject.device, subject.example)
    labels = subject.labels(split).to(subject.device)
    loader = Loader(
        subject.images[split],
        subject.network.preprocessing,
        subject.batch_size,
        subject.device,
        skip_bad=subject.skip_bad,
    )
    with autocast(subject.device, subject.precision):
        yield from run_on(module, layer, (batch._replace(labels=labels[batch.indices]) for batch in loader), visit)


def run_on(module: nn.Module, layer: Layer, batches: Iterable[Batch], visit: Visit | None = None) -> Iterator[View]:
    """Every batch, run on in ``module`` from what ``visit`` makes of the output of ``layer``."""
    given: list[tuple[Tensor, Tensor]] = []

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> Tensor | None:
        return None if visit is None else visit(check_output(layer, result), *given[0])

    with forward_hooks(module, {layer.name: hook}), torch.no_grad():
        for batch in batches:
            given[:] = [(batch.labels, batch.indices)]
            logits = check_logits(module(batch.images), len(batch.images))
            yield View(batch.labels, batch.indices, logits)


def context_at(subject: Subject, layer: Layer, seed: int, budget: int | None = None) -> Context:
    """What strategies and metrics may use at ``layer`` beside the evidence."""
    return Context(
        module=layer.of(subject.network.module),
        head=subject.head_at(layer),
        seed=seed,
        budget=budget,
        layer=layer,
        run_test=partial(replay, subject, layer, "test"),
        learned=subject.network.learned,
        device=subject.device,
    )
