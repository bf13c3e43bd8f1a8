"""A run's bound and the figures of its search, and options that do not go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ddeep.errors import ConfigError
from ddeep.experiments.settings import CompareConfig, RunConfig
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Responses of four classes that overlap."""
    path = tmp_path_factory.mktemp("bounded") / "made.safetensors"
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 6, generator=generator)
    tensors = {}
    for split in ("train", "test"):
        labels = torch.arange(200) % 4
        tensors[f"{split}_labels"] = labels
        tensors[f"{split}_responses"] = centres[labels] + torch.randn(200, 6, generator=generator)
    save_file(tensors, path)
    return path


def test_a_run_tells_how_good_its_filters_are(made: Path, cli_here: Cli, tmp_path: Path) -> None:
    words = ("run", "--responses", made, "--strategy", "qpm", "--k", "2", "--l2", "0.01", "--bound")
    done = cli_here(*words, "--out", tmp_path / "a", "--json")
    assert done.status == 0, done.err
    bound, search = done.json["bound"], done.json["search"]
    assert 0 < bound["least"] <= bound["loss"]
    assert bound["gap"] == pytest.approx(bound["loss"] / bound["least"] - 1)
    assert search["objective"] <= search["bound"] * (1 + 1e-9)
    assert done.json["head_form"] == "real"
    shown = cli_here(*words, "--out", tmp_path / "b", "--head-form", "shared")
    assert "of the best possible" in shown.out
    assert "shared, penalty 0.01, not chosen" in shown.out
    assert "objective" in shown.out
    learned = cli_here(*words[:-3], "--no-refit", "--out", tmp_path / "c", "--json")
    assert learned.json["head_form"] == "binary"
    assert learned.json["bound"] is None


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (RunConfig, {"strategy": "gram", "bound": True, "no_refit": True}, "--bound says how good a refit is"),
        (RunConfig, {"strategy": "gram", "head_form": "ternary", "no_refit": True}, "leave out --no-refit"),
        (RunConfig, {"selection": "a.json", "distinct": True}, "--distinct goes with --strategy"),
        (CompareConfig, {"head_form": "binary", "no_refit": True}, "leave out --no-refit"),
    ],
)
def test_options_that_do_not_go_together(kind: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        kind(model="resnet20", **options)


def test_distinct_filters_in_a_comparison(made: Path, cli_here: Cli, tmp_path: Path) -> None:
    words = ("compare", "--responses", made, "--strategies", "gram,mean-activation", "--k", "1")
    alike = cli_here(*words, "--out", tmp_path / "a", "--json")
    apart = cli_here(*words, "--distinct", "--head-form", "ternary", "--out", tmp_path / "b", "--json")
    assert (alike.status, apart.status) == (0, 0), alike.err + apart.err
    assert [row["twins"] for row in apart.json["rows"]] == [0, 0]
    assert {row["sid"] for row in apart.json["rows"]} == {None}  # responses have no places
    assert all(row["class-independence"] is not None for row in apart.json["rows"])
