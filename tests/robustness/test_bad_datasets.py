"""Datasets that cannot be used."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import (
    CIFAR,
    FOLDER,
    TEN,
    Bad,
    Planted,
    broken_image,
    check,
    cifar,
    claims_to_be_enormous,
    folders,
    other_size,
    outside_link,
    run,
    text,
)
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders

ROWS: dict[str, Bad] = {
    # datasets
    "no data folder": run("--dataset folder --data-dir nowhere --weights resnet20-digits", "nowhere", "no folder"),
    "an empty data folder": run(
        FOLDER, "train", "holds no folders", prepare=lambda folder: (folder / "data/train").mkdir(parents=True)
    ),
    "one class": run(FOLDER, "one class only", prepare=folders({"0": 2})),
    "an empty class": run(
        FOLDER,
        "holds no image",
        prepare=folders(TEN, lambda data: (data / "train" / "3" / "0.png").unlink()),
    ),
    "an image that does not decode": run(FOLDER, "broken.png", "does not decode", prepare=folders(TEN, broken_image)),
    "an image that claims to be enormous": run(
        FOLDER, "big.png", "pixels", prepare=folders(TEN, claims_to_be_enormous)
    ),
    "a link out of the folder": run(FOLDER, "link.png", "links to", prepare=folders(TEN, outside_link)),
    "an unprintable class": run(
        FOLDER, "\\x1b", "printable", prepare=folders(TEN, lambda data: (data / "train" / "a\x1b[31m").mkdir())
    ),
    "cifar10 not there": run(f"{CIFAR} --data-dir nowhere", "CIFAR-10 is not under nowhere", "--data-dir"),
    "cifar10 with a class too few": run(
        CIFAR,
        "lacks the class 'cat'",
        prepare=cifar(lambda data: (data / "cifar10/train/cat").rename(data / "cat")),
    ),
    "cifar10 with a class too many": run(
        CIFAR,
        "'cats'",
        "Did you mean 'cat'",
        prepare=cifar(lambda data: class_folders(data / "cifar10/train", {"cats": 1})),
    ),
    "cifar10 with an image of another size": run(CIFAR, "odd.png", "9 × 8 pixels", prepare=cifar(other_size)),
    "cifar10 without a split": run(
        CIFAR, "test", "no folder", prepare=cifar(lambda data: (data / "cifar10/test").rename(data / "test"))
    ),
    "cifar10's pickles damaged": run(
        CIFAR, "is not a file of CIFAR-10", prepare=text("data/cifar-10-batches-py/data_batch_1", "nothing")
    ),
    "cifar10's pickles would run code": run(
        CIFAR,
        "asks to run",
        prepare=text("data/cifar-10-batches-py/data_batch_1", pickle.dumps({"data": Planted(), "labels": []})),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
