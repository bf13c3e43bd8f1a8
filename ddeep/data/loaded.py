"""Images from a loader of the user's own, prepared as the network takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from ..errors import DataError
from .batches import Batch, read_batch
from .labels import check_labels


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """What ``batches`` gives, in an order of its own: images as tensors ``(N, channels, side, side)``, and labels.

    ``given`` is the loader as it was given, shuffled or not, for training. ``low`` and ``high`` are the extremes of the
    values, so that pictures can be drawn. ``content_hash`` covers images and labels; it keys every cache.
    """

    batches: Iterable[Any]
    given: Iterable[Any]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]
    content_hash: str
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, given: Iterable[Any], classes: Sequence[str]) -> LoadedImages:
        """Look through a loader once. Raises DataError for batches that cannot be read, and where there are none."""
        batches, digest = in_order(given), hashlib.sha256()
        labels: list[Tensor] = []
        low, high = float("inf"), float("-inf")
        for images, truth in map(read_batch, batches):
            labels.append(check_labels(truth, len(images), len(classes)))
            low, high = min(low, float(images.min())), max(high, float(images.max()))
            plain = images.detach().cpu().contiguous()
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
            digest.update(labels[-1].numpy().data)
        if not labels:
            raise DataError(
                "The batches hold no images. Those that are read more than once must be a loader or a list."
            )
        return cls(batches, given, torch.cat(labels), tuple(classes), digest.hexdigest(), low, high)

    def read(self) -> Iterator[Batch]:
        """The batches on the CPU, numbered. Raises DataError where they come in another order than the first time."""
        start = 0
        for images, truth in map(read_batch, self.batches):
            indices = torch.arange(start, start + len(images))
            start += len(images)
            if start > len(self) or not torch.equal(truth.cpu().long(), self.labels[indices]):
                raise DataError(
                    "The loader gives its images in another order each time. Give one that does not shuffle."
                )
            yield Batch(images, self.labels[indices], indices)

    def fetch(self, indices: Sequence[int]) -> Tensor:
        """The images at ``indices``, as the network takes them."""
        loader = self.batches
        if isinstance(loader, DataLoader) and loader.batch_size is not None and _is_whole(loader):
            return read_batch(loader.collate_fn([loader.dataset[index] for index in indices]))[0]
        wanted, found = set(indices), {}
        for batch in self.read():
            found.update({i: batch.images[row] for row, i in enumerate(batch.indices.tolist()) if i in wanted})
            if len(found) == len(wanted):
                break
        return torch.stack([found[index] for index in indices])

    def pictures(self, images: Tensor) -> UInt8[Tensor, "n s s 3"]:
        """``images`` as RGB, square: their smallest value black, their largest white."""
        shares = (images.detach().cpu().float() - self.low) / max(self.high - self.low, 1e-12)
        rgb = shares[:, :3] if shares.shape[1] >= 3 else shares[:, :1].expand(-1, 3, -1, -1)
        side = min(rgb.shape[2:])
        return (rgb[:, :, :side, :side] * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_order(batches: Iterable[Any]) -> Iterable[Any]:
    """``batches``, or where they are a loader that shuffles, another one over the same images that does not."""
    if not isinstance(batches, DataLoader) or not isinstance(batches.sampler, RandomSampler):
        return batches
    return DataLoader(
        batches.dataset,
        batch_size=batches.batch_size,
        num_workers=batches.num_workers,
        collate_fn=batches.collate_fn,
        pin_memory=batches.pin_memory,
    )


def _is_whole(loader: DataLoader[Any]) -> bool:
    """Whether the loader's n-th image is the n-th of its dataset."""
    return type(loader.sampler).__name__ == "SequentialSampler" and hasattr(loader.dataset, "__getitem__")
