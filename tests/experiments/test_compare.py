"""``ddeep compare``: one pass a split, whatever is compared, and everything it writes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddeep.errors import ConfigError
from ddeep.evidence import passes as evidence_passes
from ddeep.experiments.compare import run_comparison
from ddeep.experiments.run import run as run_experiment
from ddeep.experiments.settings import CompareConfig, RunConfig, read_config
from ddeep.networks.hooks import ResponseHooks
from ddeep.registry.registry import registry
from ddeep.reports.comparison_figures import _best_first, draw
from tests.support.documents import read_document
from tests.support.helpers import Distributions, Outcome

Cli = Callable[..., Outcome]
QUICK = ("paper", "contrast", "weight", "random")


@pytest.fixture
def passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes that are run, by split, with a cache of their own; ``"backward"`` for each batch with gradients."""
    seen: list[str] = []
    forward, backward = evidence_passes.run_share, ResponseHooks.run_with_gradients

    def counted(share: evidence_passes.Share, partial: Any) -> Any:
        seen.append(share.wanted.split)
        return forward(share, partial)

    def with_gradients(self: ResponseHooks, *given: Any) -> Any:
        seen.append("backward")
        return backward(self, *given)

    monkeypatch.setattr(evidence_passes, "run_share", counted)
    monkeypatch.setattr(ResponseHooks, "run_with_gradients", with_gradients)
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    return seen


def config(**settings: Any) -> CompareConfig:
    return read_config(CompareConfig, {"model": "resnet20", "strategies": QUICK, "k": (2, 5), **settings})


def test_one_pass_a_split_and_none_the_second_time(passes: list[str]) -> None:
    first = run_comparison(config())
    assert passes == ["train", "test"]
    second = run_comparison(config(no_refit=True))
    assert passes == ["train", "test"]
    assert [row["decomposed"] for row in by_name(first)] == [row["decomposed"] for row in by_name(second)]


def test_gradients_only_where_a_strategy_asks(passes: list[str]) -> None:
    document = run_comparison(config(strategies=("contrast", "taylor"), k=(2,), no_refit=True))
    assert [name for name in passes if name != "backward"] == ["train", "test"]
    assert passes.count("backward") == 6  # batches of the train split alone
    assert {row["strategy"] for row in document["rows"]} == {"contrast", "taylor"}


def by_name(document: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(document["rows"], key=lambda row: (row["k"], row["strategy"]))


def test_it_says_what_a_run_says() -> None:
    document = run_comparison(config(strategies=("paper",), k=(5,)))
    (row,) = document["rows"]
    alone = run_experiment(read_config(RunConfig, {"model": "resnet20", "strategy": "paper", "k": 5})).document
    assert row["decomposed"] == pytest.approx(alone["accuracy"]["decomposed"])
    assert row["refit"] == pytest.approx(alone["accuracy"]["refit"])
    assert row["metrics"]["pmi"] == alone["metrics"]["pmi"]
    assert document["networks"][0]["full"] == pytest.approx(alone["accuracy"]["full"])


def test_what_it_prints_and_writes(cli_here: Cli, tmp_path: Path) -> None:
    words = ["compare", "--model", "resnet20", "--strategies", *QUICK, "--k", "2,5", "--out", tmp_path / "out"]
    done = cli_here(*words, "--json")
    assert done.status == 0, done.err
    assert done.json == read_document(tmp_path / "out" / "comparison.json")
    assert done.json["schema"] == "ddeep.comparison/1"
    rows = done.json["rows"]
    assert {(row["strategy"], row["k"]) for row in rows} == {(name, k) for name in QUICK for k in (2, 5)}
    best_first = [(row["k"], -row["refit"], -row["decomposed"]) for row in rows]
    assert best_first == sorted(best_first)
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["refit"]) for line in lines] == [row["refit"] for row in rows]
    assert [float(line["refit_high"]) for line in lines] == [row["refit_interval"][1] for row in rows]
    assert [float(line["pmi"]) for line in lines] == [row["pmi"] for row in rows]
    for name in ("accuracy", "agreement"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "out" / f"{name}.svg").read_text()
    again = cli_here(*words)
    assert again.status == 1
    assert "already exists" in again.err


def test_the_table_is_for_people(cli_here: Cli) -> None:
    words = ["compare", "--model", "resnet20", "--strategies", "paper", "weight", "--k", "2", "--no-refit"]
    done = cli_here(*words)
    assert done.status == 0, done.err
    sentence, _, title, head, *rows = done.out.splitlines()
    assert sentence.startswith("With k = 2 of 64 filters a class, ")
    assert title == "resnet20 on digits, the best of each k first"
    assert head.split() == ["k", "strategy", "decomposed", "%", "p", "best", "p", "random"]
    assert {line.split()[1] for line in rows[:2]} == {"paper", "weight"}
    assert all(line.split()[3] == "±" for line in rows[:2])
    assert "full network" in done.out
    assert "gap, points" in cli_here(*words, "--wide").out


def test_layers_and_checkpoints_side_by_side(passes: list[str]) -> None:
    document = run_comparison(
        config(
            layers=("layer1.0", "layer3.2"),
            weights=("resnet20-digits", "resnet20-digits"),
            strategies=("paper", "weight"),
            k=(5, 20),
            no_refit=True,
        )
    )
    assert passes == ["train", "test"]  # a checkpoint given twice is one
    assert len(document["networks"]) == 1
    places = {(row["layer"], row["strategy"], row["k"]) for row in document["rows"]}
    assert places == {
        ("layer1.0", "paper", 5),
        ("layer3.2", "paper", 5),
        ("layer3.2", "paper", 20),
        ("layer3.2", "weight", 5),
        ("layer3.2", "weight", 20),
    }
    assert all((row["decomposed"] is None) == (row["layer"] == "layer1.0") for row in document["rows"])
    reasons = {(row["layer"], row["strategy"]): row["reason"] for row in document["skipped"]}
    assert "16" in reasons["layer1.0", "paper"]
    assert "feeds the head" in reasons["layer1.0", "weight"]


def test_two_checkpoints(tmp_path: Path) -> None:
    import torch

    from ddeep.experiments.opening import open_subject

    module = open_subject(config().subjects()[0]).network.module
    state = {name: value.clone() for name, value in module.state_dict().items()}
    state["linear.weight"] = -state["linear.weight"]
    torch.save(state, tmp_path / "other,name.pt")
    names = ("resnet20-digits", str(tmp_path / "other,name.pt"))
    document = run_comparison(config(weights=names, strategies=("paper",), k=(5,), dataset="digits", no_refit=True))
    assert tuple(row["weights"] for row in document["rows"]) == names
    own, other = document["networks"]
    assert own["hashes"]["weights"] != other["hashes"]["weights"]
    assert own["full"] > 90 > other["full"]
    assert document["rows"][0]["decomposed"] > document["rows"][1]["decomposed"]
    titles = [plot.figure.get_suptitle() for plot in draw(document)]
    own_figures = len(titles) // 2
    assert ["resnet20-digits" in title for title in titles] == [True] * own_figures + [False] * own_figures
    assert all("other,name.pt" in title for title in titles[own_figures:])


def test_panels_go_by_the_mean_over_all_k() -> None:
    accuracies = {"rises": (10.0, 99.0), "steady": (70.0, 80.0), "unfitted": (60.0, 60.0)}
    rows = [
        {"strategy": name, "decomposed": value, "refit": None if name == "unfitted" else value}
        for name, values in accuracies.items()
        for value in values
    ]
    assert _best_first(rows) == ["steady", "unfitted", "rises"]


def test_stages_that_few_strategies_have_are_in_the_legend() -> None:
    """The first panel is that of the best strategy, which has learned no head."""
    document = run_comparison(config(strategies=("contribution", "pruned-refit"), k=(2,)))
    for row in document["rows"]:
        row["refit"] = 99.0 if row["strategy"] == "contribution" else 1.0
    figure = next(plot.figure for plot in draw(document) if plot.name == "each")
    (legend,) = figure.legends
    assert "learned" in [text.get_text() for text in legend.get_texts()]
    assert figure.axes[0].get_title(loc="left") == "contribution"


STRANGER = """
import torch
from ddeep import StrategySpec, hookimpl

def backwards(evidence, k, context):
    return torch.arange(evidence.filters).double().expand(evidence.classes, -1)

def breaks(evidence, k, context):
    raise KeyError("lost")

@hookimpl
def ddeep_strategies():
    yield StrategySpec("last-filters", select=backwards)
    yield StrategySpec("breaks", select=breaks)
"""


def test_all_includes_strangers_and_survives_them(distributions: Distributions) -> None:
    distributions.install("stranger", STRANGER)
    document = run_comparison(config(strategies=("all",), k=(2,), no_refit=True))
    names = {row["strategy"] for row in document["rows"]}
    assert names == set(registry().strategies) - {"breaks"}
    assert {"paper", "roc-auc", "taylor", "last-filters", "weight"} <= names
    assert [(row["strategy"], row["k"], row["reason"]) for row in document["skipped"]] == [
        ("breaks", [2], "KeyError: 'lost'")
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--strategies", "papper"], "paper"),
        (["--strategies", "contrast", "--k", "0.5"], "fraction"),
        (["--strategies", "paper", "--k", "zero"], "'zero' is not a number"),
        (["--strategies", "paper", "--k", "65"], "65"),
        (["--strategies", "weight", "--layers", "layer1.0"], "feeds the head"),
        (["--layers", "layer9*"], "layer9*"),
        (["--strategies", "weight", "--layers", "layer1.0", "layer1.1", "--k", "2"], "nothing to compare"),
    ],
)
def test_what_cannot_be_compared(words: list[str], told: str, cli_here: Cli, tmp_path: Path) -> None:
    done = cli_here("compare", "--model", "resnet20", *words, "--out", tmp_path / "out")
    assert done.status == 1
    assert told in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_config_file_holds_lists(tmp_path: Path) -> None:
    path = tmp_path / "compare.toml"
    path.write_text('model = "resnet20"\nstrategies = ["paper", "weight"]\nk = [2, 5, 2, 0.5]\nlayers = "layer3.2"\n')
    read = read_config(CompareConfig, {}, path)
    assert read.strategies == ("paper", "weight")
    assert read.k == (2, 5, 0.5)
    assert read.layers == ("layer3.2",)
    with pytest.raises(ConfigError, match="k = 0"):
        read_config(CompareConfig, {"model": "resnet20", "k": (0,)})
