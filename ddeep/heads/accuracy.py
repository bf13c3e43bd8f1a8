"""Accuracy of a network on images, by running it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from ..data.images import Images
from ..data.loader import Loader
from ..data.preprocessing import Preprocessing
from ..networks.inference import Precision, autocast, prepare
from .ablation import accuracy_percent, confusion


def confusions(
    module: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision = "fp32",
    *,
    among: Sequence[Bool[Tensor, " c"] | None] = (None,),
    batch_size: int = 500,
) -> list[Int64[Tensor, "c c"]]:
    """Images by true class (rows) and by class of the largest logit (columns), in one pass; ``module`` is not touched.

    One table for each of ``among``: the classes that compete, or None for all.
    """
    loader = Loader(images, preprocessing, batch_size, device)
    ready: nn.Module | None = None
    predicted: list[list[Tensor]] = [[] for _ in among]
    labels: list[Tensor] = []
    classes = 0
    with torch.no_grad(), autocast(device, precision):
        for batch in loader:
            ready = ready or prepare(module, [], device, batch.images[:8])
            logits = ready(batch.images).float().cpu()
            classes = logits.shape[1]
            labels.append(batch.labels.cpu())
            for found, allowed in zip(predicted, among, strict=True):
                competing = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
                found.append(competing.argmax(1))
    truth = torch.cat(labels)
    return [confusion(truth, torch.cat(found), classes) for found in predicted]


def accuracy(
    module: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision = "fp32",
) -> float:
    """Percent of ``images`` whose label is the largest of the logits."""
    return accuracy_percent(confusions(module, images, preprocessing, device, precision)[0])
