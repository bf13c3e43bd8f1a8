"""What a report shows: the run's own results, and what follows from its images while they are there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError, DdeepError
from ..evidence.evidence import Evidence
from ..evidence.store import gather
from ..evidence.subject import Subject
from ..experiments.reopen import reopen, run_config
from ..experiments.settings import ReportConfig
from ..heads.ablation import knockout
from ..heads.accuracy import confusion, predict, predictions
from ..networks.head import Head, get_head
from ..networks.layer import Layer
from ..results.run import read_run, saved_network
from ..selections.selection import Selection
from ..statistics.basic import ClassSums, Confusion
from ..statistics.top_images import TopImages
from .depth import Depth, measure_depth
from .style import STAGES

TOP = 6  # images shown of a filter


@dataclass
class Measured:
    """What the images tell. Tables are on the test split, class by class or class by filter.

    ``confusions``: images by true and predicted class, for every stage that can still be computed. ``means``: mean
    response of a filter to a class's images. At the layer that feeds the head, ``contributions``: mean of W_cj·r_j
    over a class's images; ``knockout``: change of a class's accuracy, in percent points, when the filter is
    silenced in the full network. Rows of classes without images are NaN. ``top``: the train images each filter
    responds to most.
    """

    subject: Subject
    layer: Layer
    class_counts: Int64[Tensor, " c"]
    confusions: dict[str, Int64[Tensor, "c c"]]
    means: Float[Tensor, "c k"]
    top: TopImages
    contributions: Float[Tensor, "c k"] | None = None
    knockout: Float[Tensor, "c k"] | None = None
    depth: list[Depth] = field(default_factory=list)

    @property
    def shares(self) -> Float[Tensor, "c k"] | None:
        """Contribution over the sum of all filters' contributions to the same logit (the bias left out)."""
        if self.contributions is None:
            return None
        whole = self.contributions.sum(1, keepdim=True)
        return torch.where(whole > 0, self.contributions / whole, torch.nan)


@dataclass
class Findings:
    """A run directory read, and ``measured`` from its images; without them ``missing`` says why."""

    folder: Path
    document: dict[str, Any]
    selection: Selection
    measured: Measured | None = None
    missing: str = ""

    @property
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
    test = gather(subject, "test", {layer: [ClassSums(), Confusion()]}, keep=[layer])[layer]
    counts = test.class_counts
    means = torch.where(counts[:, None] > 0, test[ClassSums()].sums / counts[:, None], torch.nan)
    measured = Measured(subject, layer, counts, {"full": test[Confusion()].counts}, means, train[TopImages(TOP)])
    if head is not None:
        _measure_head(measured, found, test, head)
    return measured


def _measure_head(measured: Measured, found: Findings, test: Evidence, head: Head) -> None:
    responses, labels = test.cached_responses()
    measured.contributions = measured.means * head.weight.double()
    right, without = measured.confusions["full"].diagonal(), knockout(responses, labels, *head)
    measured.knockout = 100 * (without - right[:, None]) / measured.class_counts[:, None].double()  # NaN without images
    masked = Head(head.weight * found.selection.mask(), head.bias)
    measured.confusions["decomposed"] = confusion(labels, predict(responses, *masked), test.classes)
    if found.final in ("learned", "refit", "finetuned"):
        measured.confusions[found.final] = _confusion_of_saved(measured, found, test)


def _confusion_of_saved(measured: Measured, found: Findings, test: Evidence) -> Int64[Tensor, "c c"]:
    """The confusion matrix of the network that the run has saved."""
    subject = measured.subject
    saved = saved_network(found.folder, found.document, subject.network.module)
    if found.final == "finetuned":  # its responses are its own: run it
        images = replace(subject.images["test"], labels=subject.labels("test"), classes=subject.classes)
        labels, (predicted,) = predictions(saved, images, subject.network.needed_preprocessing(), subject.device)
        return confusion(labels, predicted, test.classes)
    assert subject.network.head is not None
    linear = get_head(saved, subject.network.head)
    responses, labels = test.cached_responses()
    return confusion(labels, predict(responses, linear.weight.detach(), linear.bias.detach()), test.classes)
