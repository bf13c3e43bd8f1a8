"""Accuracy of a network on images, by running it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..data.images import Images
from ..data.loader import Loader
from ..data.preprocessing import Preprocessing
from ..networks.device import CPU, Precision, autocast
from ..networks.head import Head
from ..networks.inference import prepare
from ..networks.logits import check_logits
from ..statistics.basic import count_pairs
from ._narrow import logits_of
from ._right import which_right


def predictions(
    module: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision = "fp32",
    *,
    among: Sequence[Bool[Tensor, " c"] | None] = (None,),
    batch_size: int = 500,
) -> tuple[Int64[Tensor, " n"], list[Int64[Tensor, " n"]]]:
    """Labels, and the class of the largest logit of every image, in one pass; ``module`` is not touched.

    The latter once for each of ``among``: the classes that compete, or None for all.
    """
    loader = Loader(images, preprocessing, batch_size, device)
    ready: nn.Module | None = None
    predicted: list[list[Tensor]] = [[] for _ in among]
    labels: list[Tensor] = []
    with torch.no_grad(), autocast(device, precision):
        for batch in loader:
            ready = ready or prepare(module, [], device, batch.images[:8])
            logits = check_logits(ready(batch.images), len(batch.images)).cpu()
            labels.append(batch.labels.cpu())
            for found, allowed in zip(predicted, among, strict=True):
                competing = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
                found.append(competing.argmax(1))
    return torch.cat(labels), [torch.cat(found) for found in predicted]


def accuracy(
    module: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision = "fp32",
) -> float:
    """Percent of ``images`` whose label is the largest of the logits."""
    labels, (predicted,) = predictions(module, images, preprocessing, device, precision)
    return 100.0 * int((predicted == labels).sum()) / len(labels)


Table = Int64[Tensor, "c c"]


def predict(
    responses: Float[Tensor, "n k"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, " c"],
    among: Bool[Tensor, " c"] | None = None,
    *,
    device: torch.device = CPU,
) -> Int64[Tensor, " n"]:
    """Best class of every image under a linear head; only classes in ``among`` compete where it is given."""
    return predict_all(responses, [Head(weight, bias)], among, device=device)[0]


def predict_all(
    responses: Float[Tensor, "n k"],
    heads: Sequence[Head],
    among: Bool[Tensor, " c"] | None = None,
    *,
    device: torch.device = CPU,
) -> Int64[Tensor, "h n"]:
    """``predict`` under each of ``heads``, the responses read once; on the CPU whatever the ``device``."""
    found = torch.empty(len(heads), len(responses), dtype=torch.int64)
    for rows, which, logits in logits_of(heads, responses, device) if heads else ():
        competing = logits if among is None else logits.masked_fill(~among.to(device)[:, None], -torch.inf)
        found[which, rows] = competing.argmax(1).cpu()
    return found


def right_all(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    heads: Sequence[Head],
    rival: Float[Tensor, " n"] | None = None,
    *,
    device: torch.device = CPU,
) -> Bool[Tensor, "h n"]:
    """Which images each of ``heads`` gets right: ``predict_all(…) == labels``, in less time.

    Their own logit must be no smaller than the ``rival``, where that is given.
    """
    found = torch.empty(len(heads), len(responses), dtype=torch.bool)
    for rows, which, logits in logits_of(heads, responses, device) if heads else ():
        least = None if rival is None else rival[rows].to(device)
        found[which, rows] = which_right(logits, labels[rows].to(device), least).cpu()
    return found


def confusion(labels: Int64[Tensor, " n"], predicted: Int64[Tensor, " n"], classes: int) -> Table:
    """Images by true class (rows) and predicted class (columns)."""
    table = torch.zeros(classes, classes, dtype=torch.int64)
    count_pairs(table, labels, predicted)
    return table


def sparse_confusion(labels: Int64[Tensor, " n"], predicted: Int64[Tensor, " n"], classes: int) -> Table:
    """``confusion`` as a sparse table (coalesced COO): as many numbers as there are pairs, not C²."""
    pairs, counts = torch.unique(labels * classes + predicted, return_counts=True)
    places = torch.stack([pairs // classes, pairs % classes])
    return torch.sparse_coo_tensor(places, counts, (classes, classes), is_coalesced=True, check_invariants=False)


def right_by_class(labels: Int64[Tensor, " n"], predicted: Int64[Tensor, " n"], classes: int) -> Int64[Tensor, " c"]:
    """Images of each class that are predicted as theirs: the diagonal of ``confusion``, in C numbers."""
    return torch.bincount(labels[predicted == labels], minlength=classes)


def accuracy_percent(right: Int64[Tensor, " c"], images: Int64[Tensor, " c"]) -> float:
    """Percent of all images that are right, from the counts of every class."""
    return 100.0 * int(right.sum()) / int(images.sum())


def accuracy_by_class(right: Int64[Tensor, " c"], images: Int64[Tensor, " c"]) -> list[float | None]:
    """Percent right of each class; None for classes without images."""
    pairs = zip(right.tolist(), images.tolist(), strict=True)
    return [100.0 * hits / total if total else None for hits, total in pairs]
