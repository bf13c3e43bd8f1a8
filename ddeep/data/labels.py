"""Labels, looked at wherever they enter with images: a wrong one gives a wrong figure without a word."""

from __future__ import annotations

from jaxtyping import Int64
from torch import Tensor

from ..errors import DataError

_OTHER = "Use weights or a model made for these classes."


def check_labels(labels: object, images: int, classes: int) -> Int64[Tensor, " n"]:
    """The labels of ``images`` images, on the CPU; ``classes`` is the number of the network's outputs.

    Raises DataError unless they are integers ``(N,)`` from 0 to ``classes`` − 1, one for each image; of multi-label
    data it says why.
    """
    refuse_several(labels)
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.dtype.is_floating_point or _no_number(labels):
        alone = isinstance(labels, Tensor) and labels.dim() == 0
        hint = " Batches are meant, as a DataLoader gives them." if alone else ""
        raise DataError(f"Labels must be integers (N,), one class number per image, not {_shown(labels)}.{hint}")
    if len(labels) != images:
        raise DataError(f"There are {len(labels)} labels for a batch of {images} images. Give one for each.")
    whole = labels.cpu().long()
    check_range(whole, classes)
    return whole


def refuse_several(labels: object) -> None:
    """Raise DataError for labels that say of every class whether it is on the image."""
    if isinstance(labels, Tensor) and labels.dim() == 2 and labels.shape[1] == 1:
        raise DataError(f"Labels must be integers (N,), not {_shown(labels)}: give labels[:, 0].")
    if isinstance(labels, Tensor) and labels.dim() == 2:
        raise DataError(
            f"Labels of shape {tuple(labels.shape)} say of every class whether it is on the image: multi-label data. "
            "ddeep is about networks that give an image one class: with several, no class has images of its own, and "
            "there is no right class to select for. If each row holds a single 1, give labels.argmax(1)."
        )


def check_range(labels: Int64[Tensor, " n"], classes: int) -> None:
    """Raise DataError for labels that are not the number of an output."""
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"Labels run from {int(labels.min())} to {int(labels.max())}, but the network has {classes} outputs "
            f"(0 to {classes - 1}). "
            + ("Take 1 from each, if they count from 1." if labels.min() > 0 and labels.max() == classes else _OTHER)
        )


def _no_number(labels: Tensor) -> bool:
    return labels.dtype.is_complex or str(labels.dtype) == "torch.bool"


def _shown(labels: object) -> str:
    if isinstance(labels, Tensor):
        return f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
    return f"a {type(labels).__name__}"
