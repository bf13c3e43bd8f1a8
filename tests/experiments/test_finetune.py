"""Fine-tuning of run directories, its dense control, and the decomposed checkpoints of the paper's authors."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import ddeep.experiments.finetune
import ddeep.training.history
from ddeep.data.loader import read_inputs
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import CacheError, ConfigError, DataError, SelectionError, TrainingStopped, WeightsError
from ddeep.experiments.explain import Explainer
from ddeep.experiments.finetune import finetune, read_settings
from ddeep.experiments.predict import predict_sets
from ddeep.experiments.run import run
from ddeep.experiments.settings import FinetuneConfig, PredictConfig, RunConfig, TrainConfig
from ddeep.experiments.train import run_training
from ddeep.heads.accuracy import accuracy
from ddeep.networks.weights_file import describe_file, split_final_head
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from ddeep.results.run import load, save_run
from ddeep.selections.selection import Selection
from tests.support.documents import read_document
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 20, "lr": 1e-3, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder dataset of three colours, a network trained on it, and a run that decomposed it."""
    root = tmp_path_factory.mktemp("finetuning")
    source = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("test", 6)):
        for label, colour in enumerate(("blue", "green", "red")):
            folder = root / "images" / split / colour
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 180, (16, 16, 3), dtype=torch.uint8, generator=source)
                pixels[:, :, 2 - label] += 30
                Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    settings = {"model": "resnet20", "dataset": "folder", "data_dir": root / "images", "device": "cpu"}
    run_training(TrainConfig(**settings, epochs=6, batch_size=20, lr=0.05), root / "trained")
    weights = str(root / "trained" / "model.safetensors")
    result = run(RunConfig(**settings, weights=weights, strategy="paper", k=3))
    save_run(result, root / "run")
    return root


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Path:
    """A copy of the run, to fine-tune in."""
    return shutil.copytree(place / "run", tmp_path / "run")


def test_trained_weights_bring_their_own_preprocessing(place: Path) -> None:
    trained = read_document(place / "trained" / "run.json")
    described = describe_file(place / "trained" / "model.safetensors")
    assert described is not None
    assert Preprocessing.of(described).identity() == trained["preprocessing"]
    assert described.classes == ("blue", "green", "red")
    document = read_document(place / "run" / "run.json")
    assert document["accuracy"]["full"] == pytest.approx(trained["accuracy"]["test"])
    assert describe_file(place / "run" / "run.json") is None


def test_fine_tuning_reports_and_saves_what_it_reached(place: Path, copied: Path) -> None:
    before = load(copied)
    document = finetune(copied, FinetuneConfig(**QUICK))
    assert document == read_document(copied / "run.json")
    assert len(document["finetune"]["epochs"]) == 2
    assert document["finetune"]["from"] == "refit"
    assert document["finetune"]["recipe"]["optimizer"] == "adam"
    assert sorted(path.name for path in copied.iterdir()) == [
        "history.csv",
        "metrics.json",
        "model.safetensors",
        "run.json",
        "selection.json",
    ]
    after = load(copied)
    images = resolve(registry().find("dataset", "folder").open)(place / "images", "test")
    described = describe_file(place / "trained" / "model.safetensors")
    assert described is not None
    measured = accuracy(after, images, Preprocessing.of(described), torch.device("cpu"))
    assert measured == document["accuracy"]["finetuned"]
    per_class = [row["finetuned"] for row in document["per_class"]]
    assert sum(per_class) / 3 == pytest.approx(measured)

    selection = Selection.load(copied / "selection.json")
    assert torch.equal(after.get_submodule("linear").weight != 0, selection.mask())
    assert not torch.equal(before.get_submodule("conv1").weight, after.get_submodule("conv1").weight)


def test_the_source_of_fine_tuning_stays_as_it_is(place: Path, tmp_path: Path, cli_here: Cli) -> None:
    before = {path.name: path.read_bytes() for path in (place / "run").iterdir()}
    done = cli_here("finetune", place / "run", "--epochs", 1, "--batch-size", 20, "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert done.json["accuracy"]["finetuned"] is not None
    assert {path.name: path.read_bytes() for path in (place / "run").iterdir()} == before
    assert read_document(tmp_path / "out" / "run.json") == done.json


def test_fine_tuning_can_start_before_the_refit(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor] = []
    train = ddeep.experiments.finetune.train

    def spy(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        starts.append(module.get_submodule("linear").weight.detach().clone())
        return train(module, *args, **kwargs)

    monkeypatch.setattr(ddeep.experiments.finetune, "train", spy)
    for no_refit in (False, True):
        folder = shutil.copytree(place / "run", tmp_path / str(no_refit))
        document = finetune(folder, FinetuneConfig(**{**QUICK, "epochs": 1}, no_refit=no_refit))
        assert document["finetune"]["from"] == ("decomposed" if no_refit else "refit")
    dense = load_file(place / "trained" / "model.safetensors")["linear.weight"]
    mask = Selection.load(place / "run" / "selection.json").mask()
    assert torch.equal(starts[1], dense * mask)
    refitted = load_file(place / "run" / "model.safetensors")["linear.weight"]
    torch.testing.assert_close(starts[0], refitted * ((dense * mask).norm() / refitted.norm()))  # as sure as before it
    assert not torch.equal(starts[0], starts[1])


def test_without_a_refit_fine_tuning_starts_from_the_head_the_strategy_learned(place: Path, tmp_path: Path) -> None:
    settings = {"model": "resnet20", "dataset": "folder", "data_dir": place / "images", "k": 3, "no_refit": True}
    weights = str(place / "trained" / "model.safetensors")
    config = RunConfig(**settings, weights=weights, strategy="pruned-refit")
    save_run(run(config), tmp_path / "run")
    document = finetune(tmp_path / "run", FinetuneConfig(**{**QUICK, "epochs": 1}))
    assert document["finetune"]["from"] == "learned"
    assert list(document["accuracy"]) == ["full", "decomposed", "learned", "refit", "finetuned"]
    assert document["accuracy"]["refit"] is None


def test_stopped_fine_tuning_resumes_to_the_same_weights(place: Path, tmp_path: Path) -> None:
    settings = FinetuneConfig(**{**QUICK, "epochs": 3})
    straight = shutil.copytree(place / "run", tmp_path / "straight")
    stopped = shutil.copytree(place / "run", tmp_path / "stopped")
    expected = finetune(straight, settings)

    def interrupt(progress: Any) -> None:
        if (progress.epoch, progress.step) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingStopped):
        finetune(stopped, settings, on_step=interrupt)
    begun = read_document(stopped / "run.json")
    assert begun["status"] == "running"
    assert "finetuned" not in begun["accuracy"]
    with pytest.raises(DataError, match=f"has not finished. Go on: ddeep finetune --resume {stopped}"):
        load(stopped)
    found = finetune(stopped, read_settings(stopped), resume=True)
    assert (stopped / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert found["accuracy"] == expected["accuracy"]


class Killed(BaseException):
    """As if the process had ended at this place."""


@pytest.mark.parametrize("when", ["before the first checkpoint", "between the last files"])
def test_fine_tuning_killed_at_any_moment_goes_on_in_its_folder(
    when: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    settings = FinetuneConfig(**{**QUICK, "epochs": 1})
    expected = finetune(shutil.copytree(place / "run", tmp_path / "straight"), settings)
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        if when == "before the first checkpoint":
            patch.setattr(ddeep.experiments.finetune, "train", killed)
        else:  # the new weights are there, the document is still the old one
            patch.setattr(ddeep.training.history.History, "write_csv", killed)
        with pytest.raises(Killed):
            finetune(folder, settings, source=place / "run")
    with pytest.raises(DataError, match="has not finished"):
        load(folder)
    found = finetune(folder, read_settings(folder), resume=True)
    assert found["accuracy"] == expected["accuracy"]
    assert found["status"] == "finished"
    assert "finetuning" not in found
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
    load(folder)
    with pytest.raises(CacheError, match="no unfinished fine-tuning"):
        read_settings(folder)


def test_run_fine_tunes_when_asked(place: Path, tmp_path: Path, cli_here: Cli) -> None:
    done = cli_here(
        *("run", "--model", "resnet20", "--dataset", "folder", "--data-dir", place / "images"),
        *("--weights", place / "trained" / "model.safetensors", "--strategy", "paper", "--k", 3),
        *("--finetune", 1, "--out", tmp_path / "run", "--json"),
    )
    assert done.status == 0, done.err
    assert set(done.json["accuracy"]) == {"full", "decomposed", "refit", "finetuned"}
    assert done.json["finetune"]["recipe"]["lr"] == 2e-4


def test_a_selection_file_is_enough(place: Path, tmp_path: Path, cli_here: Cli) -> None:
    done = cli_here(
        *("finetune", place / "run" / "selection.json", "--dataset", "folder", "--data-dir", place / "images"),
        *("--weights", place / "trained" / "model.safetensors", "--epochs", 1, "--batch-size", 20),
        *("--out", tmp_path / "out", "--json"),
    )
    assert done.status == 0, done.err
    then = read_document(place / "run" / "run.json")
    assert done.json["selection"] == then["selection"]
    assert done.json["accuracy"]["decomposed"] == then["accuracy"]["decomposed"]
    assert done.json["accuracy"]["finetuned"] is not None


def test_the_dense_control_trains_the_same_network_with_the_same_recipe(
    place: Path, tmp_path: Path, cli_here: Cli
) -> None:
    done = cli_here(
        *("finetune", place / "run", "--dense", "--epochs", 1, "--batch-size", 20),
        *("--out", tmp_path / "dense", "--json"),
    )
    assert done.status == 0, done.err
    document = done.json
    assert document["schema"] == "ddeep.train/1"
    assert (document["recipe"]["optimizer"], document["recipe"]["lr"]) == ("adam", 2e-4)
    trained = read_document(place / "trained" / "run.json")
    assert document["accuracy"]["before"] == trained["accuracy"]["test"]
    assert document["preprocessing"] == trained["preprocessing"]
    weight = load_file(tmp_path / "dense" / "model.safetensors")["linear.weight"]
    assert (weight != 0).all()


def test_what_cannot_be_fine_tuned_says_so(place: Path, tmp_path: Path, cli_here: Cli) -> None:
    early = tmp_path / "early"
    settings = {"model": "resnet20", "dataset": "folder", "data_dir": place / "images", "device": "cpu"}
    weights = str(place / "trained" / "model.safetensors")
    save_run(run(RunConfig(**settings, weights=weights, strategy="paper", k=3, layer="layer1.0")), early)
    with pytest.raises(ConfigError, match="no decomposed head"):
        finetune(early, FinetuneConfig(**QUICK))
    for args, named in (
        ((), "RUN_OR_SELECTION"),
        ((tmp_path / "nowhere",), "nowhere"),
        ((tmp_path,), "run.json"),
        ((place / "run", "--model", "resnet32"), "model"),
        ((place / "run", "--lr", "0"), "lr"),
        (("--resume", place / "run"), "no unfinished fine-tuning"),
        (("--resume", place / "run", "--lr", "0.1"), "no other settings"),
    ):
        done = cli_here("finetune", *args, *(() if "--resume" in args else ("--out", tmp_path / "out")))
        assert done.status == 1, args
        assert named in done.err
        assert "Traceback" not in done.err


def _authors_checkpoint(place: Path, path: Path, selection: Path) -> dict[str, torch.Tensor]:
    """A dense network with a decomposed head of its own, and the filters beside it, as the authors save them."""
    state = load_file(place / "trained" / "model.safetensors")
    mine = Selection.load(place / "run" / "selection.json")
    backwards = [list(reversed(row)) for row in mine.filters]
    refitted = load_file(place / "run" / "model.safetensors")
    state["final_weights"] = torch.stack([refitted["linear.weight"][c, row] for c, row in enumerate(backwards)])
    state["final_bias"] = refitted["linear.bias"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    selection.write_text(json.dumps({str(c): row for c, row in enumerate(backwards)}))
    return state


def test_the_authors_decomposed_checkpoints_load(place: Path, tmp_path: Path) -> None:
    weights, filters = tmp_path / "resnet20-decomposed.pth", tmp_path / "indices.json"
    _authors_checkpoint(place, weights, filters)
    trained = read_document(place / "trained" / "run.json")
    settings: dict[str, Any] = {
        "model": "resnet20",
        "dataset": "folder",
        "data_dir": place / "images",
        "device": "cpu",
        "weights": str(weights),
        "no_refit": True,
        **{name: tuple(trained["preprocessing"][name]) for name in ("mean", "std")},
    }
    then = read_document(place / "run" / "run.json")
    result = run(RunConfig(**settings, selection=filters))
    assert result.model is not None
    expected = load_file(place / "run" / "model.safetensors")["linear.weight"]
    assert torch.equal(result.model.get_submodule("linear").weight, expected)
    assert result.document["accuracy"]["decomposed"] is not None
    # The published size of the network is 32, not 16: the figures differ, the heads' agreement is what counts.
    assert set(result.document["accuracy"]) >= set(then["accuracy"]) - {"refit"}

    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps({str(c): [0, 1] for c in range(3)}))
    with pytest.raises(SelectionError, match="3 filters each"):
        run(RunConfig(**settings, selection=fewer))


def test_half_a_decomposed_head_is_refused() -> None:
    with pytest.raises(WeightsError, match="final_bias"):
        split_final_head({"final_weights": torch.zeros(2, 3)})
    with pytest.raises(WeightsError, match="shapes"):
        split_final_head({"final_weights": torch.zeros(2, 3), "final_bias": torch.zeros(3)})
    dense, none = split_final_head({"linear.weight": torch.zeros(2, 3)})
    assert none is None
    assert list(dense) == ["linear.weight"]


@pytest.mark.parametrize("form", ["shared", "ternary", "binary"])
def test_fine_tuning_keeps_the_form_of_the_head_also_when_it_was_stopped(
    form: str, place: Path, tmp_path: Path, cli_here: Cli
) -> None:
    settings = {"model": "resnet20", "dataset": "folder", "data_dir": place / "images", "k": 3, "device": "cpu"}
    config = RunConfig(
        **settings, weights=str(place / "trained" / "model.safetensors"), strategy="paper", head_form=form
    )
    result = run(config)
    assert result.document["head_form"] == result.document["refit"]["form"] == form
    save_run(result, tmp_path / "run")
    before = load(tmp_path / "run").linear

    def interrupt(progress: Any) -> None:
        if (progress.epoch, progress.step) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingStopped):
        finetune(tmp_path / "run", FinetuneConfig(**QUICK), on_step=interrupt)
    document = finetune(tmp_path / "run", read_settings(tmp_path / "run"), resume=True)
    after = load(tmp_path / "run").linear
    assert document["head_form"] == form
    factors = (after.weight / before.weight).detach()[after.mask].view(3, 3)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-4)
    assert torch.allclose(factors, factors[:1, :1].expand_as(factors), rtol=1e-4) == (form != "shared")
    out = str(tmp_path / "out")
    exported = cli_here("export", str(tmp_path / "run"), "--to", "safetensors", "--out", out, "--json")
    assert exported.json["head_form"] == form
    predicted = predict_sets(
        tmp_path / "run", ["test:1"], PredictConfig(calibrate="test:0.5")
    )  # of the trained network
    network, subject = load(tmp_path / "run"), Explainer.open(tmp_path / "run").subject
    pixels = read_inputs(subject.images["test"], [1], subject.network.needed_preprocessing())
    with torch.no_grad():
        shares = network(pixels)[0].softmax(0)
    for one in predicted["images"][0]["set"]:
        c = subject.classes.index(one["class"])
        assert one["probability"] == pytest.approx(float(shares[c]), abs=1e-4)
