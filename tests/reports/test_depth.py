"""Metrics over depth: third-party metrics get there what they declare, as everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from ddeep.experiments.opening import open_subject
from ddeep.experiments.settings import RunConfig
from ddeep.registry.specs import MetricSpec
from ddeep.reports import depth


def of_responses(evidence: Any, _selection: Any, context: Any) -> dict[str, Any]:
    train, _ = evidence.train.cached_responses()
    test, _ = evidence.of_test().cached_responses()
    _, run = context.needed_run()
    return {"images": float(len(train) + len(test) + sum(len(view.labels) for view in run()))}


@pytest.mark.usefixtures("cache")
def test_metrics_over_depth_get_what_they_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MetricSpec("of-responses", measure=of_responses, of="layer", responses=("train", "test"), reruns=True)
    monkeypatch.setattr(depth, "layer_metrics", lambda: [spec])
    subject = open_subject(RunConfig(model="resnet20", strategy="paper", device="cpu"))
    (row,) = depth.measure_depth(subject, ["layer3.2"])
    train, test = (len(subject.images[split]) for split in ("train", "test"))  # type: ignore[index]
    assert row.figures == {"of-responses": train + 2 * test}
