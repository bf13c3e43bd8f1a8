"""Whose output is whose: ``--classes`` fixes the order of class folders; every command says how it prepares images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddeep.files.tensors import write_tensors
from ddeep.networks.weights import load_weights
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]
FOLDERS = [str(number) for number in range(1, 11)]  # as text 1, 10, 2, …


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Digits in folders numbered from 1, and the packaged network's weights as a file that says nothing of them."""
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    for split, count in (("train", 2), ("test", 4)):
        images = resolve(registry().find("dataset", "digits").open)(tmp_path, split)
        for label, folder in enumerate(FOLDERS):
            where = tmp_path / "digits" / split / folder
            where.mkdir(parents=True)
            for number, at in enumerate((images.labels == label).nonzero()[:count, 0].tolist()):
                Image.fromarray(np.asarray(images.pixels[at])).save(where / f"{number}.png")
    (weights,) = (one for one in registry().find("model", "resnet20").weights if one.name == "resnet20-digits")
    write_tensors(load_weights(weights, tmp_path), tmp_path / "foreign.safetensors")
    (tmp_path / "order.txt").write_text("\n".join(FOLDERS))
    return tmp_path / "digits"


def words(data: Path) -> tuple[object, ...]:
    recipe = ("--size", 32, "--mean", "0.5", "--std", "0.5")
    return (
        "--model",
        "resnet20",
        "--dataset",
        "folder",
        "--data-dir",
        data,
        "--weights",
        "foreign.safetensors",
        *recipe,
    )


def said(outcome: Outcome) -> str:
    return " ".join(outcome.err.split())


def test_a_list_gives_each_class_its_output(data: Path, cli_here: Cli) -> None:
    run = ("run", *words(data), "--strategy", "weight", "--no-refit", "--json")
    by_text = cli_here(*run, "--out", "by-text")
    assert by_text.status == 0, by_text.err
    assert "sorted as text: class 1 is '10'" in said(by_text)
    assert by_text.json["accuracy"]["full"] < 50
    listed = cli_here(*run, "--classes", "order.txt", "--out", "listed")
    assert listed.status == 0, listed.err
    assert "sorted as text" not in said(listed)
    assert listed.json["accuracy"]["full"] > 90
    assert listed.json["config"]["classes"] == FOLDERS
    Path("order.txt").unlink()  # the run knows the names
    explained = cli_here("explain", "listed", "test:39", "--json")
    assert explained.status == 0, explained.err
    assert explained.json["images"][0]["true"] == "10"


def test_every_command_says_how_images_are_prepared_and_warns_where_nobody_has(data: Path, cli_here: Cli) -> None:
    line = "Images: 32 px, bilinear, mean 0.3057, 0.3057, 0.3057, std 0.3237, 0.3237, 0.3237."  # of resnet20-digits
    some = (*words(data)[:8], "--classes", "order.txt")  # how images are prepared is left out
    fitting, tuned = ("--no-refit", "--out"), ("--epochs", 1, "--batch-size", 10, "--out")
    for command in (
        ("run", *some, "--strategy", "weight", "--k", 3, *fitting, "run"),
        ("compare", *some, "--strategies", "weight", *fitting, "comparison"),
        ("measure", *some, "--out", "measured"),
        ("explain", "run", "test:0"),
        ("report", "run", "--no-layers"),
        ("cut", "run", "--classes", "1,2", "--out", "small"),
        ("finetune", "run", *tuned, "tuned"),
        ("train", *some[:6], "--mean", "0.5", "--std", "0.5", *tuned, "trained"),
    ):
        done = cli_here(*command)
        assert done.status == 0, (command, done.err)
        foreign = command[0] != "train"
        assert (line if foreign else "Images: 32 px, bilinear, mean 0.5, 0.5, 0.5") in said(done), (command, done.err)
        assert ("does not say how its images were prepared" in said(done)) == foreign, (command, done.err)


@pytest.mark.parametrize(
    ("content", "dataset", "message"),
    [
        ("1\n2\n1\n", "folder", "names '1' twice. It should name two or more class folders"),
        ("", "folder", "names 0 classes"),
        ("\n".join(FOLDERS[:9]), "folder", "holds '10', not a class of this dataset"),
        (None, "folder", "There is no file order.txt"),
        ("\n".join(FOLDERS), "digits", "the dataset 'digits' has an order of its own"),
    ],
)
def test_lists_that_do_not_do(data: Path, cli_here: Cli, content: str | None, dataset: str, message: str) -> None:
    Path("order.txt").write_text(content) if content is not None else Path("order.txt").unlink()
    given = (*words(data), "--dataset", dataset, "--classes", "order.txt")
    for command in (("run", *given, "--strategy", "weight"), ("measure", *given)):
        done = cli_here(*command)
        assert done.status == 1
        assert message in said(done)
        assert len(done.err.strip().splitlines()) < 4
