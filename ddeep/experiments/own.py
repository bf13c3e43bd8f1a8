"""A module and loaders of the user's own as what an experiment is about."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..data.batches import read_batch
from ..data.loaded import LoadedImages
from ..data.preprocessing import Preprocessing
from ..errors import DataError
from ..evidence.subject import EXAMPLES, Subject
from ..networks.device import Precision, resolve_device
from ..networks.logits import check_logits
from ..networks.network import Network
from ..networks.trace import record
from ..networks.weights import weights_hash
from ..networks.wrappers import unwrapped

LOADERS = "loaders"  # the dataset of such a run


@torch.inference_mode(mode=False)  # what is made in it could never be run with gradients
def own_subject(
    module: nn.Module,
    train: Iterable[Any],
    test: Iterable[Any],
    *,
    classes: Sequence[str] | None = None,
    head: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    skip_bad: bool = False,
) -> Subject:
    """``module`` on the images of two loaders, each looked through once for labels and a hash.

    ``classes`` names the outputs (default: their numbers). The module is copied, never changed. Raises DataError where
    the loaders' labels are no outputs, or the images are no pictures ``(N, channels, height, width)``.
    """
    network = copy.deepcopy(unwrapped(module)).cpu().eval()
    example = next((read_batch(batch)[0][:EXAMPLES].cpu() for batch in test), None)
    if example is None:
        raise DataError("The test batches hold no images.")
    if example.ndim != 4:
        raise DataError(f"Images are tensors (N, channels, height, width), not {tuple(example.shape)}.")
    outputs = check_logits(record(network, example).output, len(example)).shape[1]
    names = tuple(classes) if classes is not None else tuple(map(str, range(outputs)))
    images = {"train": LoadedImages.of(train, names), "test": LoadedImages.of(test, names)}
    low = min(part.low for part in images.values())
    span = max(1e-12, max(part.high for part in images.values()) - low)
    side = min(example.shape[2:])
    digest = weights_hash(network.state_dict())
    return Subject(
        Network(
            name=type(network).__name__,
            module=network,
            head=head,
            layer=None,
            # What gives the images back from their pictures, in which the smallest value is black, the largest white.
            preprocessing=Preprocessing(((0.0 - low) / span,) * 3, (1 / span,) * 3, side, side),
            weights="as given",
            weights_hash=digest,
            classes=names,
        ),
        images,  # type: ignore[arg-type]
        resolve_device(device),
        precision,
        skip_bad=skip_bad,
        dataset=LOADERS,
    )
