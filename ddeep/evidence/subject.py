"""The subject of an experiment: a network with its dataset, and the evidence of it, cached."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..data.images import Images
from ..data.loader import Loader
from ..errors import ConfigError
from ..networks.anatomy import find_layers
from ..networks.hooks import Taps
from ..networks.inference import Precision
from ..networks.layer import Layer, find_module
from ..networks.network import Network, find_parts, head_if_fed
from ..statistics.statistic import Statistic
from .context import Context, Head
from .evidence import Evidence, by_round, count_classes, gather_kept
from .passes import Pass, run_pass
from .replay import rerun
from .response_cache import CacheEntry, code_hash, remove_leftovers

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
EXAMPLES = 8  # images on which the network's anatomy and the exactness of shortcuts are checked


@dataclass
class Subject:
    """A network, both splits of a dataset, and how to run the one over the other.

    ``skip_bad`` leaves out files that do not decode.
    """

    network: Network
    images: Mapping[Split, Images]
    device: torch.device
    precision: Precision = "fp32"
    batch_size: int = 256
    skip_bad: bool = False
    dataset: str = ""

    def __post_init__(self) -> None:
        self.network = find_parts(self.network, self.example)
        self._heads: dict[Layer, Head | None] = {}

    @cached_property
    def example(self) -> Float[Tensor, "n 3 s s"]:
        """A few preprocessed images on the CPU."""
        loader = Loader(self.images["test"], self.network.preprocessing, EXAMPLES, workers=0, skip_bad=True)
        for batch in loader:
            return batch.images
        raise ConfigError("The test split holds no image that can be read.")

    @cached_property
    def code(self) -> str:
        """Hex sha256 of what the network computes apart from its weights: its modules as printed, and their source."""
        module = self.network.module
        text = f"{module}\n{code_hash({type(part) for part in module.modules()})}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return self.network.classes

    def labels(self, split: Split) -> Int64[Tensor, " n"]:
        """The output that each image of a split should get."""
        images = self.images[split]
        if images.classes == self.classes:
            return images.labels
        outputs = torch.tensor([self.classes.index(name) for name in images.classes])
        return outputs[images.labels]

    def layers(self, patterns: Collection[str] = ()) -> list[Layer]:
        """The layers that dotted names or globs stand for; none given, the one that feeds the head."""
        own = self.network.layer
        if patterns:
            pool = own.pool if own is not None else "mean"
            return find_layers(self.network.module, list(patterns), self.example, pool)
        if own is None:
            raise ConfigError(
                f"No layer of {self.network.name} feeds its head ({self.network.problem}), so there is no default. "
                f"Choose one with --layer; `ddeep layers {self.network.name}` lists them."
            )
        return find_layers(self.network.module, [own.name], self.example, own.pool)

    def filters(self, layer: Layer) -> int:
        """K, the number of filters of ``layer``."""
        with torch.no_grad(), Taps(self.network.module, [layer], {"logits"}) as taps:
            taps.run(self.example)
        return taps.responses[layer.name].shape[1]

    def head_at(self, layer: Layer) -> Head | None:
        """The head's parameters if the pooled responses of ``layer`` are its input, else None."""
        if layer not in self._heads:
            module, head = self.network.module, self.network.head
            self._heads[layer] = head_if_fed(module, head, layer, self.example) if head is not None else None
        return self._heads[layer]

    def context(self, layer: Layer, seed: int) -> Context:
        """What strategies and metrics may use at ``layer`` beside the evidence."""
        module = find_module(self.network.module, layer.name)
        head, learned = self.head_at(layer), self.network.learned
        return Context(module, head, seed, layer, lambda visit=None: rerun(self, layer, "test", visit), learned)

    def evidence(
        self, split: Split, requests: Mapping[Layer, Iterable[Statistic]], keep: Collection[Layer] = ()
    ) -> dict[Layer, Evidence]:
        """The statistics of every layer over a split, in one pass for whatever the cache does not have.

        Responses are kept for the layers in ``keep``, and where a second-round statistic needs them.
        """
        remove_leftovers()
        wanted = {layer: list(dict.fromkeys(statistics)) for layer, statistics in requests.items()}
        kept = {layer for layer in wanted if layer in keep or len(by_round(wanted[layer])) > 1}
        entries = {layer: self.entry(split, layer) for layer in wanted}
        found = {layer: self._cached(split, layer, wanted[layer], layer in kept, entries[layer]) for layer in wanted}
        lacking = {
            layer: [s for s in by_round(wanted[layer])[0] if found[layer] is None or s not in found[layer].statistics]  # type: ignore[union-attr]
            for layer in wanted
        }
        missing = {layer: statistics for layer, statistics in lacking.items() if found[layer] is None or statistics}
        if missing:
            writing = {layer for layer in missing if layer in kept and found[layer] is None}
            for layer, fresh in run_pass(self, Pass(split, missing, frozenset(writing))).items():
                old = found[layer]
                if old is not None:
                    fresh.statistics = {**old.statistics, **fresh.statistics}
                    fresh.responses, fresh.labels = old.responses, old.labels
                found[layer] = fresh
        whole = {layer: evidence for layer, evidence in found.items() if evidence is not None}
        for layer, evidence in whole.items():
            gather_kept(evidence, wanted[layer], self.device)
        return whole

    def entry(self, split: Split, layer: Layer) -> CacheEntry:
        """Where the cache keeps what is known of a layer over a split."""
        network = self.network
        return CacheEntry(
            {
                "model": network.name,
                "code": self.code,
                "weights": network.weights_hash,
                "data": self.images[split].content_hash,
                "classes": list(self.classes),
                "split": split,
                "preprocessing": network.preprocessing.identity(),
                "layer": [layer.name, layer.pool, layer.layout],
                "precision": self.precision,
                "device": self.device.type,
            }
        )

    def _cached(
        self, split: Split, layer: Layer, wanted: list[Statistic], keep: bool, entry: CacheEntry
    ) -> Evidence | None:
        """What the cache knows; None where the layer must be run anyway."""
        labels = self.labels(split)
        counts = count_classes(labels, len(self.classes))
        responses = entry.responses()
        if responses is not None and len(responses) == len(labels):
            evidence = Evidence(layer, split, counts, responses.shape[1], {}, responses, labels)
            gather_kept(evidence, [s for s in by_round(wanted)[0] if not s.extras], self.device)
        elif keep:
            return None
        else:
            evidence = Evidence(layer, split, counts, 0)
        for statistic in by_round(wanted)[0]:
            if statistic not in evidence.statistics:
                loaded = statistic.twin()
                filters = entry.load(loaded, len(self.classes))
                if filters is not None:
                    evidence.statistics[loaded] = loaded
                    evidence.filters = filters
        return evidence if evidence.filters else None
