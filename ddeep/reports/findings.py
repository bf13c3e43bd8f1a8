"""What a report shows: the run's own results, and what follows from its images while they are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError, DdeepError
from ..evidence.evidence import Evidence
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..experiments.reopen import reopen, run_config, with_module
from ..experiments.settings import ReportConfig
from ..heads.ablation import knockout
from ..heads.accuracy import predict, right_by_class, sparse_confusion
from ..networks.head import Head, get_head
from ..networks.layer import Layer
from ..results.run import read_run, saved_network
from ..selections.selection import Selection
from ..statistics.basic import ClassSums
from ..statistics.pairs import ConfusionPairs
from ..statistics.top_images import TopImages
from .depth import Depth, measure_depth
from .names import read_names
from .style import STAGES

TOP = 6  # images shown of a filter
SAME = 0.1  # points by which an accuracy computed again may differ from the run's own


@dataclass
class Measured:
    """What the images tell. Tables are on the test split, class by class or class by filter.

    ``train`` and ``test`` hold the responses of the network as it came, ``tuned`` the test responses of
    ``tuned_subject``, the fine-tuned one, where there is one. ``predictions``: the class of every test image, at
    every stage that can still be computed; ``heads``: what makes them of responses. ``means``: mean response of a
    filter to a class's images. At the layer that feeds the head, ``contributions``: mean of W_cj·r_j over a class's
    images; ``knockout``: images of a class that the full network classifies correctly when the filter is silenced,
    more or fewer than before. Rows of classes without images are NaN (0 in ``knockout``). ``top``: the train images
    each filter responds to most.
    """

    subject: Subject
    layer: Layer
    train: Evidence
    test: Evidence
    means: Float[Tensor, "c k"]
    top: TopImages
    predictions: dict[str, Int64[Tensor, " n"]]
    heads: dict[str, Head] = field(default_factory=dict)
    tuned: Evidence | None = None
    tuned_subject: Subject | None = None
    contributions: Float[Tensor, "c k"] | None = None
    knockout: Int64[Tensor, "c k"] | None = None
    depth: list[Depth] = field(default_factory=list)

    @property
    def class_counts(self) -> Int64[Tensor, " c"]:
        return self.test.class_counts

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of every test image."""
        return self.test.cached_responses()[1]

    @cached_property
    def confusions(self) -> dict[str, Int64[Tensor, "c c"]]:
        """Images by true and predicted class, of the full network and of every other stage: sparse tables."""
        count = self.test.classes
        tables = {stage: sparse_confusion(self.labels, told, count) for stage, told in self.predictions.items()}
        return {"full": self.test[ConfusionPairs()].table(count)} | tables

    @property
    def shares(self) -> Float[Tensor, "c k"] | None:
        """Contribution over the sum of all filters' magnitudes: with its sign, the magnitudes add up to 1."""
        if self.contributions is None:
            return None
        return self.contributions / self.contributions.abs().sum(1, keepdim=True)


@dataclass
class Findings:
    """A run directory read, and ``measured`` from its images; without them ``missing`` says why.

    ``names`` are those that a reader has given to filters.
    """

    folder: Path
    document: dict[str, Any]
    selection: Selection
    measured: Measured | None = None
    missing: str = ""
    names: dict[int, str] = field(default_factory=dict)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(str(row["class"]) for row in self.document["per_class"])

    @property
    def stages(self) -> list[str]:
        """The stages that have an accuracy, in order."""
        return [stage for stage in STAGES if self.document["accuracy"].get(stage) is not None]

    @property
    def final(self) -> str:
        """The last of them: what the run ends with."""
        return self.stages[-1]

    def drop(self, c: int) -> float | None:
        """Percent points that class ``c`` has lost from the full network to the last stage."""
        row = self.document["per_class"][c]
        before, after = row["full"], row.get(self.final)
        return None if before is None or after is None else before - after

    def users(self) -> dict[int, list[int]]:
        """The classes that have selected each filter."""
        users: dict[int, list[int]] = {}
        for c, filters in enumerate(self.selection.filters):
            for j in filters:
                users.setdefault(j, []).append(c)
        return users


def find(folder: Path, settings: ReportConfig | None = None, subject: Subject | None = None) -> Findings:
    """Read a run directory and, where its network and images are still there, measure what a report shows."""
    settings = settings or ReportConfig()
    document = read_run(folder)
    try:
        selection = Selection.load(folder / "selection.json", num_classes=len(document["per_class"]))
        found = Findings(folder, document, selection)
        assert found.stages
    except (KeyError, TypeError, AssertionError) as error:
        raise DataError(f"{folder / 'run.json'} is not a whole result: {type(error).__name__} {error}.") from None
    if settings.names is not None:
        found.names = read_names(settings.names, document, selection.num_filters)
    try:
        subject = subject or reopen(document, settings.data_dir, settings.device)
    except DdeepError as error:
        found.missing = str(error)
        return found
    found.measured = _measure(found, subject)
    layers = [] if settings.no_layers else list(settings.layers) or None
    found.measured.depth = measure_depth(subject, layers, run_config(document).seed)
    return found


def _measure(found: Findings, subject: Subject) -> Measured:
    (layer,) = subject.layers([found.document["layer"]])
    head = subject.head_at(layer)
    found.selection.check(len(subject.classes), subject.filters(layer))
    train = gather(subject, "train", {layer: [TopImages(TOP)]}, keep=[layer])[layer]
    test = gather(subject, "test", {layer: [ClassSums(), ConfusionPairs()]}, keep=[layer])[layer]
    counts = test.class_counts
    means = torch.where(counts[:, None] > 0, test[ClassSums()].sums / counts[:, None], torch.nan)
    measured = Measured(subject, layer, train, test, means, train[TopImages(TOP)], {})
    if head is not None:
        _measure_head(measured, found, head)
    return measured


def _measure_head(measured: Measured, found: Findings, head: Head) -> None:
    responses, labels = measured.test.cached_responses()
    measured.heads["full"] = head
    measured.heads["decomposed"] = Head(head.weight * found.selection.mask(), head.bias)
    if found.final != "full":
        _add_saved(measured, found)
    for stage, linear in measured.heads.items():
        if stage not in measured.predictions:
            measured.predictions[stage] = predict(responses, *linear)
    for stage in list(measured.predictions):  # weights may carry a decomposed head of their own, for instance
        percent = 100 * float((measured.predictions[stage] == labels).double().mean())
        if abs(percent - found.document["accuracy"].get(stage, percent)) > SAME:
            del measured.predictions[stage], measured.heads[stage]
    measured.contributions = measured.means * head.weight.double()
    right = right_by_class(labels, predict(responses, *head), measured.test.classes)
    measured.knockout = knockout(responses, labels, *head) - right[:, None]


def _add_saved(measured: Measured, found: Findings) -> None:
    """The head of the network that the run has saved and, of a fine-tuned one, its responses and predictions."""
    subject = measured.subject
    assert subject.network.head is not None
    saved = saved_network(found.folder, found.document, subject.network.module)
    head = measured.heads[found.final] = Head.of(get_head(saved, subject.network.head))
    if found.final == "finetuned":  # its responses are its own
        layer = measured.layer
        measured.tuned_subject = with_module(subject, saved)
        measured.tuned = gather(measured.tuned_subject, "test", {layer: [ClassSums()]}, keep=[layer])[layer]
        measured.predictions["finetuned"] = predict(measured.tuned.cached_responses()[0], *head)
