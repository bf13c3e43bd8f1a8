"""Prediction sets of a run, as a user asks for them: what is in them, what was counted, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ddeep.data.response_table import open_responses
from ddeep.errors import ConfigError, DataError
from ddeep.experiments.predict import predict_sets
from ddeep.experiments.run import run
from ddeep.experiments.settings import PredictConfig, RunConfig
from ddeep.heads.sets import look, scores
from ddeep.networks.head import Head
from ddeep.results.run import load, save_run
from ddeep.selections.selection import Selection
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of made responses, of classes that overlap, and a run on it with two filters a class."""
    root = tmp_path_factory.mktemp("predict")
    generator = torch.Generator().manual_seed(0)
    centres = 1.2 * torch.randn(5, 8, generator=generator)
    tensors: dict[str, torch.Tensor] = {}
    for split, images in (("train", 300), ("test", 801)):
        labels = torch.arange(images) % 5
        tensors[f"{split}_labels"] = labels
        tensors[f"{split}_responses"] = centres[labels] + torch.randn(images, 8, generator=generator)
    tensors["weight"], tensors["bias"] = centres, -centres.square().sum(1) / 2
    save_file(tensors, root / "made.safetensors")
    save_run(run(RunConfig(responses=root / "made.safetensors", strategy="gram", k=2, l2=1e-3)), root / "run")
    return root


def test_the_document_is_what_the_sets_are(place: Path) -> None:
    config = PredictConfig(coverage=0.9, calibrate="test:0.5", seed=3)
    document = predict_sets(place / "run", ["test:7", "train:2"], config)
    network = load(place / "run")
    linear: Any = network.get_submodule("head")
    found, held = document["calibration"], document["held"]
    assert found["images"] == {"level": 200, "threshold": 200}
    assert held["images"] == 801 - 400
    assert sum(held["sizes"]) == held["images"]
    assert held["mean_size"] == pytest.approx(sum(n * c for n, c in enumerate(held["sizes"])) / held["images"])
    assert held["interval"][0] <= held["coverage"] <= held["interval"][1]
    assert 0.8 < held["coverage"] < 0.97
    tables = open_responses(place / "made.safetensors").images
    selection = Selection.load(place / "run" / "selection.json")
    for image, split, index in zip(document["images"], ("test", "train"), (7, 2), strict=True):
        responses = tables[split].rows[index : index + 1]  # type: ignore[index]
        (scored,) = scores(
            look(responses, Head(linear.weight.detach(), linear.bias.detach()), selection), found["level"]
        )
        inside = {str(c) for c in range(5) if scored[c] <= found["threshold"]}
        assert {one["class"] for one in image["set"]} == inside
        assert image["true"] == str(int(tables[split].labels[index]))  # type: ignore[index]
        probabilities = [one["probability"] for one in image["set"]]
        assert probabilities == sorted(probabilities, reverse=True)
        said = [one["contribution"] for one in image["filters"]]
        assert said == sorted(said, reverse=True)
        assert {one["filter"] for one in image["filters"]} == set(selection.filters[int(image["predicted"])])


def test_the_whole_test_split_leaves_nothing_to_judge_by(place: Path) -> None:
    assert predict_sets(place / "run", [], PredictConfig(calibrate="test"))["held"] is None


def test_train_images_calibrate_with_a_warning(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = predict_sets(place / "run", [], PredictConfig(calibrate="train:0.5"))
    assert document["calibration"]["images"] == {"level": 75, "threshold": 75}
    assert document["held"]["images"] == 801
    assert "surer of them than of others" in capsys.readouterr().err


def test_few_images_give_whole_sets_and_say_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = predict_sets(place / "run", ["test:1"], PredictConfig(calibrate="test:0.01", coverage=0.99))
    assert document["calibration"]["threshold"] is None
    assert len(document["images"][0]["set"]) == 5
    assert "so every set holds all classes: calibrate on 198 or more" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["test:801"], "give test:N or train:N, N below 801"),
        (["photo.jpg"], "the run is of responses alone"),
        (["--calibrate", "val"], "'val' cannot be: give train or test"),
        (["--calibrate", "test:0"], "a share of it above 0 and up to 1"),
        (["--calibrate", "test:0.001"], "is 1 of 801 images: two at least are needed"),
        (["--coverage", "1"], "less than 1"),
    ],
)
def test_what_cannot_be_says_so(place: Path, cli_here: Cli, arguments: list[str], told: str) -> None:
    outcome = cli_here("predict", str(place / "run"), *arguments)
    assert outcome.status == 1
    assert told in " ".join(outcome.err.split())
    assert len(outcome.err.strip().splitlines()) <= 3


def test_a_run_without_a_head_has_no_sets(tmp_path: Path) -> None:
    save_run(run(RunConfig(model="resnet20", strategy="paper", k=3, layer="layer2.2")), tmp_path / "run")
    with pytest.raises(ConfigError, match="no decomposed head"):
        predict_sets(tmp_path / "run", [], PredictConfig())


def test_images_of_a_network(tmp_path: Path, cli_here: Cli) -> None:
    save_run(run(RunConfig(model="resnet20", strategy="paper", k=3, l2=1e-4)), tmp_path / "run")
    outcome = cli_here("predict", str(tmp_path / "run"), "test:7", "--json", "--coverage", "0.8")
    assert outcome.status == 0
    assert outcome.json["images"][0]["true"] == "7"
    assert outcome.json["held"]["coverage"] > 0.6
    shown = cli_here("predict", str(tmp_path / "run"), "test:7")
    assert "strongest filters" in shown.out
    with pytest.raises(DataError, match=r"There is no image nowhere\.png"):
        predict_sets(tmp_path / "run", ["nowhere.png"], PredictConfig())
