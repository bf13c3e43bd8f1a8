"""Metrics over depth: which layers are chosen, and what metrics get there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ddeep.experiments.opening import open_subject
from ddeep.experiments.settings import ReportConfig, RunConfig
from ddeep.registry.specs import MetricSpec
from ddeep.reports import depth
from ddeep.reports.findings import Findings, find


@pytest.fixture(scope="module")
def found(digits_run: Path) -> Findings:
    return find(digits_run)


def of_responses(evidence: Any, _selection: Any, context: Any) -> dict[str, Any]:
    train, _ = evidence.train.cached_responses()
    test, _ = evidence.of_test().cached_responses()
    _, run = context.needed_run()
    return {"images": float(len(train) + len(test) + sum(len(view.labels) for view in run()))}


def test_metrics_over_depth_get_what_they_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MetricSpec("of-responses", measure=of_responses, of="layer", responses=("train", "test"), reruns=True)
    monkeypatch.setattr(depth, "layer_metrics", lambda: [spec])
    subject = open_subject(RunConfig(model="resnet20", strategy="paper", device="cpu"))
    (row,) = depth.measure_depth(subject, ["layer3.2"])
    train, test = (len(subject.images[split]) for split in ("train", "test"))  # type: ignore[index]
    assert row.figures == {"of-responses": train + 2 * test}


def test_metrics_over_layers_rise_to_the_runs_own(found: Findings) -> None:
    measured = found.measured
    assert measured is not None
    names = [row.layer for row in measured.depth]
    assert names[-1] == found.document["layer"]
    assert names == sorted(set(names), key=names.index)
    assert 10 <= len(names) <= 24
    own = measured.depth[-1]
    assert own.filters == 64
    assert own.figures["psi"] == pytest.approx(found.document["metrics"]["psi"]["median"])
    assert own.figures["class-selectivity"] == pytest.approx(found.document["metrics"]["class_selectivity"])


def test_spread_layers_come_in_the_order_of_the_forward_pass(found: Findings) -> None:
    assert found.measured is not None
    subject = found.measured.subject
    finished: list[str] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: finished.append(name))
        for name, module in subject.network.module.named_modules()
    ]
    with torch.no_grad():
        subject.network.module(subject.example)
    for handle in handles:
        handle.remove()
    names = [layer.name for layer in depth.spread_layers(subject)]
    assert names == sorted(names, key=finished.index)


def test_asked_layers_alone(digits_run: Path) -> None:
    found = find(digits_run, ReportConfig(layers=["layer2.1", "layer3.*.relu1"]))
    assert found.measured is not None
    assert [row.layer for row in found.measured.depth] == [
        "layer2.1",
        "layer3.0.relu1",
        "layer3.1.relu1",
        "layer3.2.relu1",
    ]
    assert find(digits_run, ReportConfig(no_layers=True)).measured.depth == []
