"""Why is this image called that? The logits of a decomposed head, taken apart filter by filter."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..data.decoding import fitted_pixels
from ..data.images import FileImages, Split
from ..data.loaded import LoadedImages
from ..data.pictures import short_name
from ..errors import ConfigError, DataError, suggestion
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..networks.head import FEEDS_TOLERANCE, Head, get_head
from ..networks.hooks import ResponseHooks
from ..networks.layer import Layer, close
from ..networks.logits import read_logits
from ..results.run import read_run, saved_network
from ..selections.selection import Selection
from ..statistics.basic import ClassSums
from .reopen import reopen, with_module

SCHEMA = "ddeep.explanation/1"
OF_A_SPLIT = re.compile(r"(train|test):(\d+)")


@dataclass(frozen=True)
class Term:
    """One filter's part of a logit: ``contribution`` is ``weight`` times ``response``, exact in double precision.

    ``typical`` is the filter's mean response to the class's own test images; None where it has none.
    """

    filter: int
    response: float
    typical: float | None
    weight: float
    contribution: float


@dataclass(frozen=True)
class ClassLogit:
    """A class's logit as its parts, the largest first: ``logit`` = ``bias`` + Σ contributions, exactly (fsum).

    ``probability`` is the softmax over all classes.
    """

    index: int
    name: str
    bias: float
    terms: tuple[Term, ...]
    logit: float
    probability: float


@dataclass(frozen=True)
class Explanation:
    """One image: what the run's network calls it (``predicted``), and the logits of two classes taken apart.

    ``logits`` holds the predicted class and then the true one, or the runner-up where the image is called rightly or
    its class is not known (``true`` is None). ``full_predicted`` is what the full network calls it. ``name`` is the
    image's file with its folder, ``image`` what was asked for. ``margin`` is the predicted logit less the next.
    """

    image: str
    name: str
    pixels: UInt8[Tensor, "s s 3"] = field(repr=False)
    predicted: int
    full_predicted: int
    true: int | None
    logits: tuple[ClassLogit, ClassLogit]
    margin: float
    inputs: Float[Tensor, "1 c h w"] = field(repr=False)  # the image as the network takes it

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """The explanation as JSON-ready data."""
        return {
            "image": self.image,
            "name": self.name,
            "true": None if self.true is None else classes[self.true],
            "predicted": classes[self.predicted],
            "full_predicted": classes[self.full_predicted],
            "margin": self.margin,
            "classes": [
                {
                    "index": part.index,
                    "class": part.name,
                    "logit": part.logit,
                    "probability": part.probability,
                    "bias": part.bias,
                    "filters": [vars(term) for term in part.terms],
                }
                for part in self.logits
            ],
        }


@dataclass(frozen=True, eq=False)
class Explainer:
    """A run's network, ready to explain images. ``module`` is the decomposed one that the run has saved."""

    document: dict[str, Any]
    subject: Subject
    layer: Layer
    module: nn.Module
    head: Head
    selection: Selection

    @classmethod
    def open(
        cls, run: Path, data_dir: Path | None = None, device: str | None = None, subject: Subject | None = None
    ) -> Explainer:
        """Open a run directory, and the network and dataset it is about, unless its ``subject`` is at hand.

        Raises ConfigError without decomposed head.
        """
        document = read_run(run)
        if document["accuracy"].get("decomposed") is None:
            raise ConfigError(
                f"The run in {run} has no decomposed head (layer {document['layer']!r} does not feed the head), so "
                "there are no logits to take apart. Run at the layer that feeds it: leave out --layer."
            )
        subject = subject or reopen(document, data_dir, device)
        (layer,) = subject.layers([document["layer"]])
        module = saved_network(run, document, subject.network.module)
        linear = get_head(module, document["head"])
        head = Head(linear.weight.detach(), linear.bias.detach())
        selection = Selection.load(run / "selection.json", num_classes=len(subject.classes))
        return cls(document, subject, layer, module, head, selection)

    def explain(self, image: str, true: str | None = None) -> Explanation:
        """Explain an image: a file, or ``test:12`` and ``train:12`` for those of the dataset.

        ``true`` names its class; by default the dataset's own label, or the file's folder where that is a class.
        Raises DataError for images and classes that are not there.
        """
        pixels, images, label = self.read(image)
        if true is not None:
            label = self._class_index(true)
        with torch.no_grad(), ResponseHooks(self.module, [self.layer], {"logits"}) as taps:
            logits = taps.run(images)
            full = read_logits(self.subject.network.module(images))
        assert logits is not None
        responses = taps.responses[self.layer.name]
        if not close(nn.functional.linear(responses, *self.head), logits, FEEDS_TOLERANCE):
            raise ConfigError(f"The responses of layer {self.layer.name!r} are not what the head sees on {image}.")
        ranked = logits[0].argsort(descending=True).tolist()
        predicted = ranked[0]
        other = label if label is not None and label != predicted else next(c for c in ranked if c != predicted)
        shares = logits[0].double().softmax(0).tolist()
        parts = tuple(self._taken_apart(c, responses[0], shares[c]) for c in (predicted, other))
        margin = float(logits[0, predicted]) - float(logits[0, ranked[1]])
        called = int(full.argmax(1))
        return Explanation(image, self._name_of(image), pixels, predicted, called, label, parts, margin, images)  # type: ignore[arg-type]

    @cached_property
    def typical(self) -> Float[Tensor, "c k"]:
        """Mean response of every filter to the test images of every class, in the run's network; NaN without any."""
        subject = self.subject
        if self.document["accuracy"].get("finetuned") is not None:
            subject = with_module(subject, self.module)
        test = gather(subject, "test", {self.layer: [ClassSums()]})[self.layer]
        return test[ClassSums()].sums / test.class_counts[:, None]

    def _taken_apart(self, c: int, responses: Float[Tensor, " k"], probability: float) -> ClassLogit:
        """The logit of class ``c``. Products of two float32 numbers are exact in double precision."""
        chosen = self.selection.filters[c] or range(len(responses))  # an absent class keeps its dense row
        terms = []
        for j in chosen:
            response, weight = float(responses[j]), float(self.head.weight[c, j])
            typical = float(self.typical[c, j])
            terms.append(Term(j, response, None if math.isnan(typical) else typical, weight, weight * response))
        terms.sort(key=lambda term: (-term.contribution, term.filter))
        bias = float(self.head.bias[c])
        logit = math.fsum([bias, *(term.contribution for term in terms)])
        return ClassLogit(c, self.subject.classes[c], bias, tuple(terms), logit, probability)

    def _name_of(self, image: str) -> str:
        """An image of a split by its file and that one's folder, where it has one; another by its file's name."""
        match = OF_A_SPLIT.fullmatch(image)
        if not match or Path(image).exists():
            return Path(image).name
        split: Split = "train" if match[1] == "train" else "test"
        images = self.subject.images[split]
        if not isinstance(images, FileImages):
            return image
        return short_name(images.files[int(match[2])])

    def read(self, image: str) -> tuple[UInt8[Tensor, "s s 3"], Float[Tensor, "1 c h w"], int | None]:
        """Pixels as the network sees them, normalised as it takes them, and the label where it is known."""
        from ..data.loader import read_inputs, read_pixels

        preprocessing = self.subject.network.needed_preprocessing()
        match = OF_A_SPLIT.fullmatch(image)
        if match and not Path(image).exists():
            split: Split = "train" if match[1] == "train" else "test"
            images, index = self.subject.images[split], int(match[2])
            if index >= len(images):
                raise DataError(f"{image}: the {split} split has images 0 to {len(images) - 1}.")
            inputs = read_inputs(images, [index], preprocessing)
            return read_pixels(images, [index], preprocessing)[0], inputs, int(self.subject.labels(split)[index])
        path = Path(image)
        if not path.is_file():
            raise DataError(f"There is no image {image}. Give a file, or test:N or train:N for those of the dataset.")
        if isinstance(self.subject.images["test"], LoadedImages):
            raise DataError(f"{image}: how your loader prepares files is not known. Give test:N or train:N.")
        pixels = fitted_pixels(path, preprocessing)
        return pixels, preprocessing.normalise(pixels[None]), self._label_of(path)

    def _label_of(self, path: Path) -> int | None:
        """The class of a file: the dataset's label if it is one of its files, else the folder that bears its name."""
        for split, images in self.subject.images.items():
            if isinstance(images, FileImages) and (at := images.place_of(path)) is not None:
                return int(self.subject.labels(split)[at])
        parent = path.absolute().parent.name
        return self.subject.classes.index(parent) if parent in self.subject.classes else None

    def _class_index(self, name: str) -> int:
        if name not in self.subject.classes:
            raise DataError(f"There is no class {name!r}.{suggestion(name, self.subject.classes)}")
        return self.subject.classes.index(name)


def adding_up(values: Sequence[float], total: float, digits: int) -> tuple[list[float], float]:
    """``values`` and ``total`` rounded to ``digits``, so that the rounded values add up to the rounded total.

    The values with the largest remainders are rounded the other way: none moves by a whole unit of the last digit.
    """
    unit = 10**digits
    floors = [math.floor(value * unit) for value in values]
    missing = round(total * unit) - sum(floors)
    by_remainder = sorted(range(len(values)), key=lambda i: floors[i] - values[i] * unit)
    for i in by_remainder[: max(0, missing)]:
        floors[i] += 1
    return [count / unit for count in floors], round(total * unit) / unit
