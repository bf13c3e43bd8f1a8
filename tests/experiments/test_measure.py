"""``ddeep measure``: many layers, one pass a split."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.evidence import passes
from ddeep.experiments.measure import run_measurement
from ddeep.experiments.settings import MeasureConfig
from tests.support.documents import read_document
from tests.support.helpers import Outcome


def test_one_pass_for_all_layers_and_what_it_writes(
    cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = passes.run_share

    def counted(share: passes.Share, partial: object) -> object:
        seen.append(share.wanted.split)
        return run(share, partial)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "run_share", counted)
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    words = ["measure", "--model", "resnet20", "--layers", "layer1.?,layer2.?", "layer3.?"]
    words += ["--metrics", "psi,psi:0.9", "class-selectivity"]
    done = cli_here(*words, "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert seen == ["train"]  # no metric here needs the test split
    document = json.loads(done.out)
    assert document == read_document(tmp_path / "out" / "measurement.json")
    assert document["schema"] == "ddeep.measurement/1"
    assert [row["layer"] for row in document["layers"]] == [f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)]
    assert [row["filters"] for row in document["layers"]] == [16] * 3 + [32] * 3 + [64] * 3
    deepest = document["layers"][-1]
    assert 0 < deepest["psi:0.9"]["median"] < deepest["psi"]["median"] < 1
    mean = sum(row["class-selectivity"] for row in document["layers"]) / 9
    assert document["means"]["class-selectivity"] == pytest.approx(mean)
    with (tmp_path / "out" / "measure.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["psi median"]) for row in table] == [row["psi"]["median"] for row in document["layers"]]


def test_a_figure_does_not_depend_on_what_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    config = MeasureConfig(model="resnet20", layers=("layer2.0",), metrics=("pmi",), strategy="paper", k=3)
    cold = run_measurement(config)["layers"]
    run_measurement(config.model_copy(update={"metrics": ("contrastiveness",)}))  # keeps the layer's responses
    assert run_measurement(config)["layers"] == cold
    (row,) = cold
    assert all(isinstance(row["pmi"][name], float) for name in ("without_self_pairs", "frequency", "support"))


def test_metrics_of_a_selection_at_inner_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    config = MeasureConfig(
        model="resnet20",
        layers=("layer2.0", "layer3.2"),
        metrics=("essentiality:1", "sid", "precision", "pmi"),
        strategy="paper",
        k=5,
    )
    document = run_measurement(config)
    for row in document["layers"]:
        assert row["note"] is None
        assert len(row["essentiality:1"]["selected"]) == 10
        assert 0.2 <= row["sid"]["mean"] <= 1
        assert 0 < row["precision"]["mean"] < 100


def test_every_metric_but_the_rerunning(cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    done = cli_here(
        "measure", "--model", "resnet20", "--metrics", "all", "--strategy", "paper", "--out", tmp_path / "o"
    )
    assert done.status == 0, done.err
    for name in ("psi", "knockout", "essentiality", "coverage", "contrastiveness"):
        assert name in done.out
    assert "sid" not in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metrics", "pmi"], "choose how to select with --strategy"),
        (["--metrics", "psy"], "psi"),
        (["--layers", "layer9*"], "layer9*"),
        (["--metrics", "sid", "--strategy", "paper", "--k", "65"], "k"),
    ],
)
def test_what_cannot_be_measured(words: list[str], told: str, cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    done = cli_here("measure", "--model", "resnet20", *words, "--out", tmp_path / "out")
    assert done.status == 1
    assert told in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
