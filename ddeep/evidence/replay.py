"""Run a network over a split once more, looking at one layer's maps or changing them on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data.loader import Loader
from ..networks.inference import autocast, prepare
from ..networks.layer import Layer, check_output, find_module

if TYPE_CHECKING:
    from .subject import Split, Subject


class View(NamedTuple):
    """One batch after the pass: labels, image indices, and the network's logits."""

    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]
    logits: Float[Tensor, "n c"]


Visit = Callable[[Tensor, Tensor, Tensor], Tensor | None]


@runtime_checkable
class Rerun(Protocol):
    """Runs over the test split. ``visit(output, labels, indices)`` sees what the layer gives, and may return another.

    It is called inside the layer, at each of its calls, before the batch's view is there: it keeps what it makes of the
    output, never the output itself, which is gone when the layer is left.
    """

    def __call__(self, visit: Visit | None = None) -> Iterator[View]: ...


def rerun(subject: Subject, layer: Layer, split: Split, visit: Visit | None = None) -> Iterator[View]:
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
    given: list[tuple[Tensor, Tensor]] = []

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> Tensor | None:
        return None if visit is None else visit(check_output(layer, result), *given[0])

    handle = find_module(module, layer.name).register_forward_hook(hook)
    try:
        with torch.no_grad(), autocast(subject.device, subject.precision):
            for batch in loader:
                given[:] = [(labels[batch.indices], batch.indices)]
                logits = module(batch.images).float()
                yield View(labels[batch.indices], batch.indices, logits)
    finally:
        handle.remove()
