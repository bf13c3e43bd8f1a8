"""The whole spine on a real GPU, wherever there is one; elsewhere a pretend device stands in (test_device_clean)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddeep.experiments.measure import run_measurement
from ddeep.experiments.run import run
from ddeep.experiments.settings import MeasureConfig, RunConfig
from ddeep.registry.registry import registry
from tests.support.helpers import Outcome

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

STRATEGIES = sorted(name for name, spec in registry().strategies.items() if not spec.stochastic)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


def test_a_run_agrees_with_the_cpu() -> None:
    results = {d: run(RunConfig(model="resnet20", strategy="paper", device=d)).document for d in ("cpu", "cuda")}
    one, other = results["cpu"], results["cuda"]
    for name, percent in one["accuracy"].items():
        assert other["accuracy"][name] == (None if percent is None else pytest.approx(percent, abs=0.6))
    assert other["metrics"]["psi"]["median"] == pytest.approx(one["metrics"]["psi"]["median"], abs=0.02)
    shared = [len(set(one["selection"][c]) & set(other["selection"][c])) for c in one["selection"]]
    assert sum(shared) >= 0.98 * 5 * len(shared)


def test_bf16_keeps_nearly_all_filters() -> None:
    fine, coarse = (
        run(RunConfig(model="resnet20", strategy="paper", device="cuda", precision=precision)).document["selection"]
        for precision in ("fp32", "bf16")
    )
    assert sum(len(set(fine[c]) & set(coarse[c])) for c in fine) >= 0.9 * 5 * len(fine)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_runs(strategy: str) -> None:
    document = run(RunConfig(model="resnet20", strategy=strategy, k=5, device="cuda", no_refit=True)).document
    assert all(len(filters) == 5 for filters in document["selection"].values())


def test_every_metric_measures() -> None:
    names = tuple(registry().metrics)
    config = MeasureConfig(model="resnet20", layers=("layer?.2",), metrics=names, strategy="paper", k=5, device="cuda")
    document = run_measurement(config)
    assert len(document["layers"]) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_and_fine_tuning(precision: str, cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    words = ["--device", "cuda", "--precision", precision]
    trained = cli_here("train", "--model", "resnet20", "--epochs", 1, *words, "--out", tmp_path / "trained")
    assert trained.status == 0, trained.err
    chosen = cli_here(
        "run", "--model", "resnet20", "--strategy", "paper", "--device", "cuda", "--out", tmp_path / "run"
    )
    assert chosen.status == 0, chosen.err
    tuned = cli_here("finetune", tmp_path / "run", "--epochs", 1, *words, "--out", tmp_path / "tuned")
    assert tuned.status == 0, tuned.err


def test_the_pass_waits_for_the_device_only_at_its_ends() -> None:
    """No host synchronisation inside the batch loop: torch turns each into an error."""
    from ddeep.data.loader import Loader
    from ddeep.evidence.collector import Collector
    from ddeep.experiments.run import make_plan

    plan = make_plan(RunConfig(model="resnet20", strategy="paper", device="cuda", batch_size=64))
    subject = plan.subject
    gathered = Collector(
        subject.network.module.cuda(),
        {plan.layer: [s for s in plan.statistics["train"] if not s.after()]},
        classes=len(subject.classes),
        device=subject.device,
    )
    batches = iter(Loader(subject.images["train"], subject.network.preprocessing, 64, subject.device))
    gathered.run([next(batches)])  # the first batch starts the statistics and may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        gathered.run(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
