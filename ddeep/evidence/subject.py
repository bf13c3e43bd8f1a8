"""The subject of an experiment: a network with its dataset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .. import console
from ..data.images import SPLITS, FileImages, Images, Split
from ..data.loader import Loader
from ..errors import ConfigError
from ..networks.anatomy import count_filters, get_layers
from ..networks.device import Precision
from ..networks.head import Head, head_if_fed
from ..networks.inference import batch_bound, batch_warning
from ..networks.layer import Layer
from ..networks.logits import check_finite
from ..networks.network import Network, with_parts
from ..networks.trace import Recording, record
from .code import network_hash
from .response_cache import CacheEntry

PROBES = 4  # images of noise by which a network is known again
EXAMPLES = 8  # images on which the network's anatomy and the exactness of shortcuts are checked


@dataclass(frozen=True, eq=False)
class Subject:
    """What an experiment is about: a network, both splits of a dataset, and how to run the one over the other.

    The network's parts are found when it is made, from one recorded pass. ``skip_bad`` leaves out files that do not
    decode. ``execution`` names what runs its passes, None where torchrun or this process does; ``elsewhere`` opens the
    same subject in another process, where that can be done.
    """

    network: Network
    images: Mapping[Split, Images]
    device: torch.device
    precision: Precision = "fp32"
    batch_size: int = 256
    skip_bad: bool = False
    dataset: str = ""
    execution: str | None = None
    elsewhere: Callable[[], Subject] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_finite(self.recording.output)
        if self.batch_bound:
            console.warn(batch_warning(self.batch_bound, f"here of {self.batch_size}"))
        object.__setattr__(self, "network", with_parts(self.network, self.recording))

    @cached_property
    def example(self) -> Float[Tensor, n * shape]:
        """A few preprocessed images on the CPU."""
        loader = Loader(self.images["test"], self.network.preprocessing, EXAMPLES, workers=0, skip_bad=True)
        for batch in loader:
            return batch.images[:EXAMPLES]
        raise ConfigError("The test split holds no image that can be read.")

    @cached_property
    def recording(self) -> Recording:
        """The one pass of ``example`` from which all that is asked about the network's parts follows."""
        return record(self.network.module, self.example)

    @cached_property
    def code(self) -> str:
        """Hex sha256 of what the network computes apart from its weights, as far as its code tells."""
        return network_hash(self.network.module, self.network.build)

    @cached_property
    def batch_bound(self) -> list[str]:
        """The layers by which an image's responses depend on the others in its batch."""
        return batch_bound(self.network.module)

    @cached_property
    def probing(self) -> Recording:
        """The pass of a few fixed images, noise of the size that the network takes, that tells it from others."""
        shape = (PROBES, *self.example.shape[1:])
        return record(self.network.module, torch.randn(shape, generator=torch.Generator().manual_seed(0)))

    def probe(self, layer: Layer) -> dict[str, Tensor]:
        """What the network gives for those images: the responses of ``layer``, and the logits. What is not finite says
        nothing.
        """
        given = {"responses": self.probing.responses(layer), "logits": self.probing.output}
        tensors = {name: value.cpu() for name, value in given.items() if isinstance(value, Tensor)}
        return {name: value for name, value in tensors.items() if bool(torch.isfinite(value).all())}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return self.network.classes

    @property
    def hashes(self) -> dict[str, str]:
        """Of the weights and of both splits' images, as every result records them."""
        return {"weights": self.network.weights_hash, **{split: self.images[split].content_hash for split in SPLITS}}

    def unread(self, split: Split) -> bool:
        """Whether no command has ever read a split's files: then the cache cannot hold anything of them."""
        images = self.images[split]
        return isinstance(images, FileImages) and not images.contents.seen and len(images.contents.missing) > 0

    def labels(self, split: Split) -> Int64[Tensor, " n"]:
        """The output that each image of a split should get."""
        images = self.images[split]
        if images.classes == self.classes:
            return images.labels
        outputs = torch.tensor([self.classes.index(name) for name in images.classes])
        return outputs[images.labels]

    def _way_out(self) -> str:
        """What to do where no layer feeds the head."""
        shares = self.recording.output
        if (
            isinstance(shares, Tensor)
            and shares.ndim == 2
            and bool((shares >= 0).all())
            and torch.allclose(shares.sum(1), shares.new_ones(1))
        ):
            return "Its outputs sum to 1, as after a softmax: leave that out, so that it ends in its linear head."
        if self.elsewhere is None:
            return "Choose one with layer=, by a name of model.named_modules(), or have it end in a linear head."
        return f"Choose one with --layer; `ddeep layers {self.network.name}` lists them."

    def layers(self, patterns: Collection[str] = ()) -> list[Layer]:
        """The layers that dotted names or globs stand for; none given, the one that feeds the head."""
        own = self.network.layer
        if patterns:
            return get_layers(self.recording, list(patterns), own.pool if own is not None else "mean")
        if own is None:
            raise ConfigError(
                f"No layer of {self.network.name} feeds its head ({self.network.problem}), so there is no default. "
                f"{self._way_out()}"
            )
        return get_layers(self.recording, [own.name], own.pool)

    def filters(self, layer: Layer) -> int:
        """K, the number of filters of ``layer``."""
        return count_filters(self.recording, [layer])[layer.name]

    def head_at(self, layer: Layer) -> Head | None:
        """The head's parameters if the pooled responses of ``layer`` are its input, else None."""
        head = self.network.head
        return head_if_fed(self.recording, head, layer) if head is not None else None

    def entry(self, split: Split, layer: Layer) -> CacheEntry:
        """Where the cache keeps what is known of a layer over a split."""
        return CacheEntry(self._key(split, layer, self.images[split].content_hash), probe=self.probe(layer))

    def unfinished_key(self, split: Split, layer: Layer) -> dict[str, Any]:
        """What a pass under way depends on. Nothing is read for it: the files are known by what they look like."""
        images = self.images[split]
        return self._key(split, layer, images.place_hash if isinstance(images, FileImages) else images.content_hash)

    def shard_key(self, split: Split, layer: Layer, images: Images) -> dict[str, Any]:
        """What all shards of a run share, wherever they are gathered; what their files hold each says by itself.

        ``images`` are those of the split, small ones as the files they are (``left_in_files``).
        """
        return self._key(split, layer, images.listing_hash if isinstance(images, FileImages) else images.content_hash)

    def _key(self, split: Split, layer: Layer, data: str) -> dict[str, Any]:
        network = self.network
        return {
            "model": network.name,
            "code": self.code,
            "weights": network.weights_hash,
            "data": data,
            "classes": list(self.classes),
            "split": split,
            "preprocessing": network.recipe,
            "layer": [layer.name, layer.pool, layer.layout],
            "precision": self.precision,
            "device": self.device.type,
            **({"batch_size": self.batch_size} if self.batch_bound else {}),
        }
