"""Run a network over batches and hand the pooled responses of its layers to statistics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from ..data.batches import Batch
from ..errors import ConfigError, DataError
from ..networks.device import Precision, autocast
from ..networks.hooks import ResponseHooks
from ..networks.layer import Layer
from ..networks.logits import NOT_FINITE
from ..statistics.basic import ClassCounts
from ..statistics.batch import BLOCK, ResponseBatch
from ..statistics.statistic import Statistic
from .evidence import CHUNK, Evidence, by_round, feed, refuse_what_does_not_fit

# Of the images in a backward pass, which keeps all their feature maps: 1,024 of 3 × 32 × 32, 20 of 3 × 224 × 224.
NUMBERS = 3 * 2**20

Requests = Mapping[Layer, Collection[Statistic]]
Keep = Callable[[Layer, int], Tensor | None]


class Collector:
    """One pass of ``module`` over images, or over a part of them.

    Of ``requests`` only the first rounds are gathered, ClassCounts always among them. ``keep(layer, K)`` gives the
    tensor ``(N, K)`` that a layer's responses are written to, by image index, or None.
    """

    def __init__(
        self,
        module: nn.Module,
        requests: Requests,
        *,
        classes: int,
        device: torch.device,
        precision: Precision = "fp32",
        keep: Keep | None = None,
    ) -> None:
        self.module, self.classes, self.device, self.precision, self.keep = module, classes, device, precision, keep
        self.plan = {layer: by_round([ClassCounts(), *statistics]) for layer, statistics in requests.items()}
        self.layers: dict[Layer, LayerCollector] = {}

    def run(self, batches: Iterable[Batch], after: Callable[[int], None] | None = None) -> Self:
        """Add ``batches``; ``after`` is told the number of images of each."""
        extras = {extra for first, *_ in self.plan.values() for statistic in first for extra in statistic.extras}
        taps = ResponseHooks(self.module, self.plan, extras)
        with taps, torch.no_grad(), autocast(self.device, self.precision):
            for batch in batches:
                for part in _parts(batch) if taps.gradients else [batch]:
                    for layer, responses in _read(taps, part).items():
                        if layer not in self.layers:
                            self.begin(layer, responses.responses.shape[1])
                        self.layers[layer].add(responses)
                if after is not None:
                    after(len(batch.labels))
        return self

    def begin(self, layer: Layer, filters: int) -> None:
        """Start the statistics of a layer, once its number of filters is known."""
        everything = [statistic for part in self.plan[layer] for statistic in part]
        refuse_what_does_not_fit(everything, self.classes, filters, self.device)
        kept = self.keep(layer, filters) if self.keep is not None else None
        self.layers[layer] = LayerCollector(self.plan[layer][0], self.classes, filters, self.device, kept)

    def finish(self, split: str) -> dict[Layer, Evidence]:
        """The evidence of every layer, on the CPU."""
        if not self.layers:
            raise DataError(f"The {split} split holds no images.")
        return {layer: gathered.finish(layer, split) for layer, gathered in self.layers.items()}


def _parts(batch: Batch) -> Iterator[Batch]:
    """The batch in parts small enough for a backward pass. Images do not see each other, so nothing else changes."""
    size = max(1, NUMBERS // batch.images[0].numel())
    columns = (torch.split(column, size) for column in (batch.images, batch.labels, batch.indices))
    return map(Batch, *columns)


def _read(taps: ResponseHooks, batch: Batch) -> dict[Layer, ResponseBatch]:
    """Run one batch; return each layer's view of it."""
    products: dict[str, Tensor] = {}
    if taps.gradients:
        logits, products = taps.run_with_gradients(batch.images, batch.labels)
    else:
        logits = taps.run(batch.images)  # type: ignore[assignment]
    missing = taps.layers.keys() - taps.responses.keys()
    if missing:
        raise ConfigError(f"Layer {min(missing)!r} is never called in the forward pass, so it has no responses.")
    return {
        layer: ResponseBatch(
            responses=taps.responses[name],
            labels=batch.labels,
            indices=batch.indices,
            zeros=taps.zeros.get(name),
            gradient_activation=products.get(name),
            logits=logits.float() if logits is not None and "logits" in taps.extras else None,
            looked=dict(taps.looked.get(name, {})),
        )
        for name, layer in taps.layers.items()
    }


class LayerCollector:
    """One layer's statistics, fed in chunks, and its responses where they are kept."""

    def __init__(
        self,
        statistics: list[Statistic],
        classes: int,
        filters: int,
        device: torch.device,
        kept: Tensor | None,
    ) -> None:
        self.filters = filters
        self.kept = kept
        # Twins: whoever asks for statistics may ask with the same objects at several layers.
        twins = [statistic.twin() for statistic in statistics]
        self.statistics = {twin: twin for twin in twins}
        self._rows: list[ResponseBatch] = []
        self._waiting = 0
        # Where one batch makes several blocks already, nothing is gained by joining it with others.
        self._enough = min(CHUNK, max(1, 4 * BLOCK // filters)) if device.type == "cpu" else CHUNK
        self.finite = torch.ones(2, dtype=torch.bool, device=device)  # responses, logits
        for statistic in self.statistics:
            statistic.start(classes, filters, device)

    def add(self, batch: ResponseBatch) -> None:
        """Add a batch."""
        self._rows.append(batch)
        self._waiting += len(batch.labels)
        if self._waiting >= self._enough:
            self.flush()

    def flush(self) -> None:
        """Hand what is waiting to the statistics."""
        if not self._rows:
            return
        batch = join(self._rows)
        self._rows, self._waiting = [], 0
        low, high = torch.aminmax(batch.responses)  # NaN if any is
        self.finite[0] &= torch.isfinite(low) & torch.isfinite(high)
        if batch.logits is not None:
            self.finite[1] &= torch.isfinite(batch.logits).all()
        feed(self.statistics, batch)
        if self.kept is not None:
            self.kept[batch.indices.to(self.kept.device)] = batch.responses.to(self.kept.device)

    def state(self) -> dict[str, Tensor]:
        """Everything gathered so far but the kept responses, on the CPU."""
        self.flush()
        tensors = {"finite": self.finite.cpu()}
        for number, statistic in enumerate(self.statistics):
            tensors.update({f"{number}.{name}": tensor for name, tensor in statistic.state().items()})
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what ``state`` gave, in place of what was gathered. Raises ValueError where it does not fit."""
        self.finite.copy_(tensors["finite"])
        for number, statistic in enumerate(self.statistics):
            started = {name: getattr(statistic, name) for name in statistic.reductions()}
            for name, tensor in started.items():
                saved = tensors[f"{number}.{name}"]
                alike = saved.shape == tensor.shape if statistic.sized else saved.ndim == tensor.ndim
                if not alike or saved.dtype != tensor.dtype:
                    raise ValueError(f"{name} of {statistic!r} has another shape")
            statistic.load_state({name: tensors[f"{number}.{name}"].to(t.device) for name, t in started.items()})

    def finish(self, layer: Layer, split: str) -> Evidence:
        """The evidence; an error where a response or a logit was not finite."""
        self.flush()
        responses, logits = self.finite.tolist()
        if not responses:
            raise DataError(
                f"Layer {layer.name!r} gives NaN or infinite responses. Check the weights, and the mean and std "
                "of the preprocessing; in bf16, try --precision fp32."
            )
        if not logits:
            raise DataError(NOT_FINITE)
        for statistic in self.statistics:
            statistic.to_cpu()
        counts = self.statistics[ClassCounts()].state()["counts"]
        return Evidence(layer, split, counts, self.filters, dict(self.statistics), self.kept)


def join(batches: list[ResponseBatch]) -> ResponseBatch:
    """One batch out of several."""
    if len(batches) == 1:
        return batches[0]

    def column(name: str) -> Tensor | None:
        parts = [getattr(batch, name) for batch in batches]
        return None if parts[0] is None else torch.cat(parts)

    names = ("responses", "labels", "indices", "zeros", "gradient_activation", "logits")
    looked = {look: torch.cat([batch.looked[look] for batch in batches]) for look in batches[0].looked}
    return ResponseBatch(**{name: column(name) for name in names}, looked=looked)  # type: ignore[arg-type]
