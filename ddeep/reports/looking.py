"""An image of the reader's own as the switch of a run's page shows it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.decoding import fitted_pixels
from ..data.loaded import LoadedImages
from ..data.pictures import Picture
from ..errors import ConfigError, DataError
from ..evidence.subject import Subject
from ..networks.head import FEEDS_TOLERANCE, Head
from ..networks.hooks import ResponseHooks
from ..networks.layer import close
from .findings import Findings, Measured
from .packing import packed
from .pictures import as_bytes, coarse, grid_document
from .tiles import activation_maps, data_uri, enlarged

SIDE = 264


class Looker:
    """A run's network, ready for images one at a time. Raises ConfigError where there is nothing to look with."""

    def __init__(self, found: Findings) -> None:
        measured = found.measured
        if measured is None:
            raise ConfigError(f"The run's network is needed to look at images: {found.missing}")
        if "full" not in measured.heads:
            raise ConfigError(
                f"Layer {found.document['layer']!r} does not feed the head, so no filters of it can be switched. "
                "Run at the layer that does: leave out --layer."
            )
        preprocessing = measured.subject.network.preprocessing
        if preprocessing is None or isinstance(measured.subject.images["test"], LoadedImages):
            raise ConfigError("How this run's images were prepared is not known, so no others can be looked at.")
        self._measured: Measured = measured
        self._preprocessing = preprocessing
        self._filters = sorted(found.users())
        self._one_at_a_time = Lock()  # the network is moved to its device and back

    def look(self, picture: Picture) -> dict[str, Any]:
        """What the page's script needs of an image: a picture, responses, and where the selected filters are active.

        Raises DataError for what is no image of a reasonable size.
        """
        pixels = fitted_pixels(picture, self._preprocessing)
        inputs = self._preprocessing.normalise(pixels[None])
        measured = self._measured
        with self._one_at_a_time:
            responses = {"base": packed(seen(measured.subject, measured, inputs, measured.heads["full"]), "f4")}
            last = measured.tuned_subject or measured.subject
            if measured.tuned_subject is not None:
                responses["tuned"] = packed(seen(last, measured, inputs, measured.heads["finetuned"]), "f4")
            maps = activation_maps(last.network.module, measured.layer, inputs, self._filters, last.device)
        found: dict[str, Any] = {
            "picture": data_uri(enlarged(pixels, SIDE), 90),
            "responses": responses,
            "filters": self._filters,
            "maps": None,
        }
        if maps is not None:
            maps = coarse(maps)
            rows = [as_bytes(maps.of(0, j)) for j in self._filters]
            found |= {"maps": packed(torch.stack(rows), "u1"), "grid": grid_document(maps.grid, maps.side)}
        return found


@torch.no_grad()
def seen(subject: Subject, measured: Measured, inputs: Tensor, head: Head) -> Float[Tensor, " k"]:
    """The responses that the head of a network sees of one image, made sure of by its logits."""
    with ResponseHooks(subject.network.module, [measured.layer], {"logits"}) as taps:
        logits = taps.run(inputs)
    responses = taps.responses[measured.layer.name].float()
    assert logits is not None
    if not close(torch.nn.functional.linear(responses, *head), logits, FEEDS_TOLERANCE):
        raise DataError(f"The responses of layer {measured.layer.name!r} are not what the head sees on this image.")
    return responses[0]
