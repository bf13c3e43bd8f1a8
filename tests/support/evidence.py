"""Evidence made of a batch of responses, for tests of strategies and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ddeep.evidence.evidence import Evidence, by_round
from ddeep.networks.layer import Layer
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.statistic import Statistic


def evidence_of(
    batch: ResponseBatch,
    statistics: Iterable[Statistic],
    classes: int,
    parts: Sequence[Sequence[ResponseBatch]] = (),
) -> Evidence:
    """What gathering ``statistics`` over ``batch`` gives, responses kept.

    ``parts`` splits the images among workers, each with its batches, whose statistics are merged.
    """
    evidence = Evidence(
        Layer("relu"),
        "train",
        torch.bincount(batch.labels, minlength=classes),
        batch.responses.shape[1],
        {},
        batch.responses,
        batch.labels,
    )
    for part in by_round(statistics):
        for wanted in part:
            twins = [_gathered(wanted, evidence, share) for share in parts or [[batch]]]
            for other in twins[1:]:
                twins[0].merge(other)
            evidence.statistics[twins[0]] = twins[0]
    return evidence


def _gathered(wanted: Statistic, evidence: Evidence, share: Sequence[ResponseBatch]) -> Statistic:
    twin = wanted.twin()
    twin.start(evidence.classes, evidence.filters, "cpu")
    twin.prepare(evidence.statistics)
    for batch in share:
        twin.update(batch)
    return twin
