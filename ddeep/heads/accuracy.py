"""Accuracy of a network on images, by running it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..data.images import Images
from ..data.loader import Loader
from ..data.preprocessing import Preprocessing
from ..networks.device import Precision, autocast
from ..networks.inference import prepare
from ..networks.logits import check_logits
from ..statistics.basic import count_pairs


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
            logits = check_logits(ready(batch.images), len(batch.images)).cpu()
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


CHUNK = 8192


Table = Int64[Tensor, "c c"]


def predict(
    responses: Float[Tensor, "n k"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    among: Bool[Tensor, " c"] | None = None,
) -> Int64[Tensor, " n"]:
    """Best class of every image under a linear head; only classes in ``among`` compete where it is given."""
    parts = []
    for start in range(0, len(responses), CHUNK):
        logits = F.linear(responses[start : start + CHUNK], weight, bias)
        if among is not None:
            logits = logits.masked_fill(~among, -torch.inf)
        parts.append(logits.argmax(1))
    return torch.cat(parts)


def confusion(labels: Int64[Tensor, " n"], predicted: Int64[Tensor, " n"], classes: int) -> Table:
    """Images by true class (rows) and predicted class (columns)."""
    table = torch.zeros(classes, classes, dtype=torch.int64)
    count_pairs(table, labels, predicted)
    return table


def accuracy_percent(table: Table) -> float:
    """Percent of all images on the diagonal."""
    return 100.0 * int(table.diagonal().sum()) / int(table.sum())


def accuracy_by_class(table: Table) -> list[float | None]:
    """Percent correct of each class; None for classes without images."""
    pairs = zip(table.diagonal().tolist(), table.sum(1).tolist(), strict=True)
    return [100.0 * right / total if total else None for right, total in pairs]
