"""A batch of images: as every pass over them takes it, and as people's loaders give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError

_IMAGES = ("pixel_values", "image", "images", "img", "x")
_LABELS = ("labels", "label", "target", "targets", "y")


class Batch(NamedTuple):
    """Normalised images with their labels and their positions in the dataset, all on one device.

    A network that only continues from responses has those ``(N, K)`` for images.
    """

    images: Float[Tensor, n * shape]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]


def read_batch(batch: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of what a loader gives: the first two of a tuple or list, whatever follows them; or a mapping
    that names them (``pixel_values`` and ``labels``, ``image`` and ``label``, …).

    Raises DataError, which says what was given, for anything else.
    """
    if isinstance(batch, Mapping):
        images = next((batch[name] for name in _IMAGES if name in batch), None)
        labels = next((batch[name] for name in _LABELS if name in batch), None)
        given = f"a {type(batch).__name__} of {', '.join(map(str, list(batch)[:5])) or 'nothing'}"
    elif isinstance(batch, Sequence) and len(batch) >= 2:
        images, labels = batch[0], batch[1]
        given = f"a {type(batch).__name__} of {type(images).__name__}, {type(labels).__name__}"
    else:
        images = labels = None
        given = f"a {type(batch).__name__}"
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise DataError(
            f"A batch is images and labels, tensors both: (images, labels, …), or a mapping with {_IMAGES[0]!r} and "
            f"{_LABELS[0]!r}; not {given}."
        )
    # What is made in inference mode takes no part in gradients; a copy made outside does.
    images, labels = (tensor.clone() if tensor.is_inference() else tensor for tensor in (images, labels))
    return images, labels
