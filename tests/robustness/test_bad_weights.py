"""Weights files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.bad_input import (
    FOLDER,
    WEIGHTS,
    Bad,
    Planted,
    bad,
    check,
    folders,
    huge_header,
    pickled,
    run,
    saved,
    state,
    text,
    truncated,
    two_classes_and_weights_for_ten,
)
from tests.support.helpers import Outcome

ROWS: dict[str, Bad] = {
    # weights files
    "a weights file that is not there": run("--weights w.pt", "no weights file w.pt"),
    "a folder for weights": run("--weights w", "no weights file w", prepare=lambda folder: (folder / "w").mkdir()),
    "empty weights": run("--weights w.pt", "w.pt is damaged or not a checkpoint", prepare=text("w.pt", "")),
    "weights that are text": run("--weights w.pt", "w.pt is damaged", prepare=text("w.pt", "weights")),
    "truncated weights": run("--weights w.pt", "w.pt is damaged", prepare=truncated),
    "weights that run code": run(
        "--weights w.pt",
        "w.pt holds more than tensors",
        "runs no code",
        prepare=saved(lambda: {"linear.weight": Planted()}),
    ),
    "a pickle that runs code": run("--weights w.pt", "w.pt is damaged or not a checkpoint", prepare=pickled),
    "a saved model": run("--weights w.pt", "w.pt holds more than tensors", prepare=saved(lambda: torch.nn.ReLU())),
    "weights that are a list": run("--weights w.pt", "w.pt holds a list", prepare=saved(lambda: [torch.ones(3)])),
    "weights of another network": run(
        "--weights w.pt", "another network", "missing", "unexpected a", prepare=saved(lambda: {"a": torch.ones(3)})
    ),
    "a weight missing": run("--weights w.pt", "missing linear.bias", prepare=saved(lambda: state(linear__bias=None))),
    "a weight of another shape": run(
        "--weights w.pt",
        "linear.bias is 9, not 10",
        prepare=saved(lambda: state(linear__bias=torch.ones(9))),
    ),
    "NaN in the weights": run(
        "--weights w.pt",
        "'linear.bias' holds NaN or infinite",
        prepare=saved(lambda: state(linear__bias=torch.full((10,), torch.nan))),
    ),
    "infinity in the weights": run(
        "--weights w.pt",
        "'linear.bias' holds NaN or infinite",
        prepare=saved(lambda: state(linear__bias=torch.full((10,), torch.inf))),
    ),
    "a header of exabytes": run("--weights w.safetensors", "w.safetensors is not a whole", prepare=huge_header),
    "safetensors cut off": run(
        "--weights w.safetensors",
        "w.safetensors is not a whole safetensors file",
        prepare=lambda folder: (folder / "w.safetensors").write_bytes(WEIGHTS.read_bytes()[:5000]),
    ),
    "no weights for the dataset": bad(
        "run --model resnet32 --strategy paper --dataset digits",
        "no weights for the dataset 'digits'",
        "--weights FILE",
    ),
    "a weights file for more classes": run(
        "--dataset folder --weights w.pt", "linear.bias is 10, not 2", prepare=two_classes_and_weights_for_ten
    ),
    "classes the weights do not know": run(
        FOLDER, "class", "cats", prepare=folders({**dict.fromkeys("012345678", 1), "cats": 1})
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
