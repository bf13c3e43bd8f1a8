"""A batch of images, as every pass over them takes it."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor


class Batch(NamedTuple):
    """Normalised images with their labels and their positions in the dataset, all on one device.

    A network that only continues from responses has those ``(N, K)`` for images.
    """

    images: Float[Tensor, n * shape]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]
