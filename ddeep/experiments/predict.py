"""Sets of classes for images, with a promise: they hold the true class as often as was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .. import console
from ..data.images import ResponseTable, Split
from ..errors import DataError
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..heads.paired import accuracy_intervals
from ..heads.sets import Calibration, Looks, calibrate, look, sets, strongest
from ..networks.hooks import ResponseHooks
from ..networks.weights import weights_hash
from .explain import OF_A_SPLIT, Explainer
from .settings import PredictConfig

SCHEMA = "ddeep.prediction/1"


def predict_sets(run: Path, images: list[str], config: PredictConfig) -> dict[str, Any]:
    """The document of ``ddeep predict``: ``calibration``, how often sets of other images ``held`` true, ``images``.

    Level and threshold are found on a part of a split that ``config`` names, from kept responses where they are there.
    Raises ConfigError where the run has no decomposed head, DataError for images that are not there.
    """
    explainer = Explainer.open(run, config.data_dir, config.device)
    given = [(image, *_responses_of(image, explainer)) for image in images]  # what is not there is refused at once
    split, share = config.part
    judged = _Judged.of(explainer, split, share, config.seed)
    found = calibrate(judged.looks, judged.labels, config.coverage, torch.Generator().manual_seed(config.seed))
    _warn(split, found, config.coverage)
    classes = explainer.subject.classes
    return {
        "schema": SCHEMA,
        "run": str(run),
        "coverage": config.coverage,
        "calibration": {
            "split": split,
            "share": share,
            "images": {"level": found.images[0], "threshold": found.images[1]},
            "level": found.level,
            "threshold": found.threshold if math.isfinite(found.threshold) else None,
        },
        "held": judged.report(found),
        "images": [_describe(image, row, label, explainer, found, classes) for image, row, label in given],
    }


@dataclass(frozen=True)
class _Judged:
    """The images that calibrate, and those that are left to judge by."""

    looks: Looks
    labels: Int64[Tensor, " n"]
    others: Looks | None
    other_labels: Int64[Tensor, " m"]

    @classmethod
    def of(cls, explainer: Explainer, split: Split, share: float, seed: int) -> _Judged:
        """A random ``share`` of a split; the rest of the test split is left, or all of it if train calibrates."""
        responses, labels = _kept(explainer, split)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        chosen, rest = order[: round(share * len(order))], order[round(share * len(order)) :]
        if len(chosen) < 2:
            raise DataError(
                f"--calibrate {split}:{share:g} is {len(chosen)} of {len(labels)} images: two at least are needed, and "
                "hundreds for sets of any use. Name a larger part."
            )
        others = (responses[rest], labels[rest]) if split == "test" else _kept(explainer, "test")
        seen = look(others[0], explainer.head, explainer.selection) if len(others[1]) else None
        looks = look(responses[chosen], explainer.head, explainer.selection)
        return cls(looks, labels[chosen], seen, others[1])

    def report(self, found: Calibration) -> dict[str, Any] | None:
        """How often the sets of the images that are left hold the true class, and how large they are."""
        if self.others is None:
            return None
        inside = sets(self.others, found)
        held, images = inside.gather(1, self.other_labels[:, None]).sum(), len(self.other_labels)
        sizes = inside.sum(1)
        return {
            "images": images,
            "coverage": int(held) / images,
            "interval": [end / 100 for end in accuracy_intervals(held[None], images)[0].tolist()],
            "mean_size": sizes.double().mean().item(),
            "sizes": sizes.bincount(minlength=inside.shape[1] + 1).tolist(),
        }


def _kept(explainer: Explainer, split: Split) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
    """The responses of a split, from the cache as far as they are there, of the network that the run has saved."""
    subject = explainer.subject
    if "finetune" in explainer.document:
        network = replace(
            subject.network, module=explainer.module, weights_hash=weights_hash(explainer.module.state_dict())
        )
        subject = Subject(
            network, subject.images, subject.device, subject.precision, subject.batch_size, subject.skip_bad
        )
    evidence = gather(subject, split, {explainer.layer: []}, keep=[explainer.layer])[explainer.layer]
    return evidence.cached_responses()


def _responses_of(image: str, explainer: Explainer) -> tuple[Float[Tensor, " k"], int | None]:
    """One image's responses, and its label where that is known."""
    images = explainer.subject.images["test"]
    if not isinstance(images, ResponseTable):
        _, inputs, label = explainer.read(image)
        with torch.no_grad(), ResponseHooks(explainer.module, [explainer.layer], {"logits"}) as taps:
            taps.run(inputs)
        return taps.responses[explainer.layer.name][0].float(), label
    match = OF_A_SPLIT.fullmatch(image)
    table = explainer.subject.images["train" if match and match[1] == "train" else "test"]
    if match is None or int(match[2]) >= len(table):
        raise DataError(f"{image}: the run is of responses alone, so give test:N or train:N, N below {len(table)}.")
    assert isinstance(table, ResponseTable)
    return table.rows[int(match[2])].float(), int(table.labels[int(match[2])])


def _describe(
    image: str,
    responses: Float[Tensor, " k"],
    label: int | None,
    explainer: Explainer,
    found: Calibration,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    looks = look(responses[None], explainer.head, explainer.selection)
    (inside,), (probabilities,), (depths,) = sets(looks, found), looks.probabilities, looks.depths
    predicted = int(looks.predicted[0])
    members = [c for c in probabilities.argsort(descending=True).tolist() if inside[c]]
    speaking = strongest(responses, explainer.head, explainer.selection.filters[predicted], predicted)
    return {
        "image": image,
        "true": None if label is None else classes[label],
        "predicted": classes[predicted],
        "filters": [{"filter": j, "contribution": said} for j, said in speaking],
        "set": [
            {"class": classes[c], "probability": float(probabilities[c]), "agrees_on": int(depths[c])} for c in members
        ],
    }


def _warn(split: Split, found: Calibration, coverage: float) -> None:
    if split == "train":
        console.warn(
            "The head was fitted to train images, so it is surer of them than of others: sets from --calibrate train "
            "hold the true class less often than asked for. --calibrate test:0.5 keeps the promise."
        )
    if math.isinf(found.threshold):
        console.warn(
            f"{found.images[1]} images give no threshold for a coverage of {coverage:g}, so every set holds all "
            f"classes: calibrate on {math.ceil(2 * coverage / (1 - coverage))} or more, or ask for less."
        )
