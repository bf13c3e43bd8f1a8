"""Responses in a file, in place of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ddeep.data.response_table import open_responses
from ddeep.errors import DataError
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]
CLASSES, FILTERS = 4, 6


def tensors(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Classes that respond with one filter each, and a head that knows it."""
    random = torch.Generator().manual_seed(0)
    made: dict[str, torch.Tensor | None] = {}
    for name, count in (("train", 40), ("test", 20)):
        labels = torch.arange(count) % CLASSES
        made[f"{name}_responses"] = torch.rand(count, FILTERS, generator=random) + 2 * torch.eye(FILTERS)[labels]
        made[f"{name}_labels"] = labels
    made |= {"weight": torch.eye(CLASSES, FILTERS), "bias": torch.zeros(CLASSES)}
    return {name: tensor for name, tensor in (made | changes).items() if tensor is not None}


def written(path: Path, metadata: dict[str, str] | None = None, **changes: torch.Tensor | None) -> Path:
    save_file(tensors(**changes), path, metadata)
    return path


def test_a_file_and_a_folder_hold_the_same(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, tensor in tensors().items():
        np.save(tmp_path / "folder" / f"{name}.npy", tensor.numpy())
    file, folder = open_responses(written(tmp_path / "r.safetensors")), open_responses(tmp_path / "folder")
    for split in ("train", "test"):
        assert torch.equal(file.images[split].rows, folder.images[split].rows)
        assert file.images[split].content_hash == folder.images[split].content_hash
        assert file.images[split].classes == ("0", "1", "2", "3")
    assert file.weight is not None
    assert folder.weight is not None
    assert torch.equal(file.weight, folder.weight)


@pytest.mark.parametrize("classes", ["a b c d", '["a", "b", "c", "d"]'])
def test_classes_have_the_names_of_the_metadata(classes: str, tmp_path: Path) -> None:
    assert open_responses(written(tmp_path / "r.safetensors", {"classes": classes})).images["test"].classes == tuple(
        "abcd"
    )


def test_val_serves_for_test_and_half_precision_does(tmp_path: Path) -> None:
    given = tensors()
    changes = {f"val_{part}": given[f"test_{part}"] for part in ("responses", "labels")}
    changes["train_responses"] = given["train_responses"].half()
    opened = open_responses(written(tmp_path / "r.safetensors", test_responses=None, test_labels=None, **changes))
    assert opened.images["train"].rows.dtype == torch.float16
    assert len(opened.images["test"]) == 20


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": None}, "lacks train_responses and train_labels"),
        ({"test_responses": None}, "lacks test_responses and test_labels or val_responses and val_labels"),
        ({"test_responses": torch.rand(20, 5)}, "train responses have 6 filters, test responses 5"),
        ({"train_responses": torch.zeros(40, FILTERS, dtype=torch.int64)}, "not floating point"),
        ({"train_labels": torch.arange(39)}, "not 40 whole numbers"),
        ({"train_labels": torch.rand(40)}, "not 40 whole numbers"),
        ({"train_labels": torch.full((40,), 4)}, "Label 4 is out of range"),
        ({"train_labels": torch.full((40,), -1)}, "Label -1 is out of range"),
        ({"train_responses": torch.full((40, FILTERS), torch.nan)}, "NaN or infinite"),
        ({"weight": torch.eye(CLASSES)}, r"not \(classes, 6\)"),
        ({"bias": torch.zeros(3)}, "does not go with the weight"),
        ({"weight": None}, "does not go with the weight"),
        (
            {
                "weight": None,
                "bias": None,
                "train_labels": torch.zeros(40).long(),
                "test_labels": torch.zeros(20).long(),
            },
            "images of one class alone",
        ),
    ],
)
def test_what_cannot_be_is_named(changes: dict[str, torch.Tensor | None], says: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.safetensors", **changes)
    with pytest.raises(DataError, match=says):
        open_responses(path)


def test_no_file_a_damaged_one_and_too_few_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no responses"):
        open_responses(tmp_path / "none")
    (tmp_path / "r.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no whole safetensors file"):
        open_responses(tmp_path / "r.safetensors")
    with pytest.raises(DataError, match="names 2 classes, but there are 4"):
        open_responses(written(tmp_path / "r.safetensors", {"classes": "a b"}))


def test_a_run_a_comparison_a_measurement_and_a_report(cli_here: Cli, tmp_path: Path) -> None:
    file, out = written(tmp_path / "r.safetensors"), tmp_path / "run"
    done = cli_here("run", "--responses", file, "--strategy", "contribution", "--k", 1, "--out", out, "--json")
    assert done.status == 0, done.err
    assert done.json["accuracy"]["full"] == done.json["accuracy"]["decomposed"] == 100
    assert [row["filters"] for row in done.json["per_class"]] == [[0], [1], [2], [3]]
    assert done.json["preprocessing"] is None
    compared = cli_here("compare", "--responses", file, "--k", "1,2", "--out", tmp_path / "compared", "--json")
    assert compared.status == 0, compared.err
    assert {"contribution", "paper"} <= {row["strategy"] for row in compared.json["rows"]}
    measured = cli_here("measure", "--responses", file, "--out", tmp_path / "measured", "--json")
    assert measured.status == 0, measured.err
    reported = cli_here("report", out)
    assert reported.status == 0, reported.err
    assert "<img" not in (out / "report.html").read_text()


def test_a_head_is_fitted_where_the_file_has_none(cli_here: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "r.safetensors", weight=None, bias=None)
    done = cli_here("run", "--responses", file, "--strategy", "weight", "--k", 1, "--out", tmp_path / "run", "--json")
    assert done.status == 0, done.err
    assert "a dense one is fitted" in done.err
    assert done.json["accuracy"]["full"] == 100


def test_a_run_is_loaded_again(cli_here: Cli, tmp_path: Path) -> None:
    from ddeep.results.run import load

    file, out = written(tmp_path / "r.safetensors"), tmp_path / "run"
    assert cli_here("run", "--responses", file, "--strategy", "contribution", "--k", 1, "--out", out).status == 0
    images = tensors()["test_responses"]
    assert torch.equal(load(out)(images).argmax(1), tensors()["test_labels"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "resnet20"], "leave out --model"),
        (["--dataset", "digits"], "leave out --dataset"),
        (["--layer", "conv1"], "'conv1'"),
    ],
)
def test_responses_stand_alone(words: list[str], says: str, cli_here: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "r.safetensors")
    done = cli_here("run", "--responses", file, "--strategy", "contribution", *words)
    assert (done.status, says in done.err) == (1, True), done.err


def test_what_needs_images_says_so(cli_here: Cli, tmp_path: Path) -> None:
    file, out = written(tmp_path / "r.safetensors"), tmp_path / "run"
    assert cli_here("run", "--responses", file, "--strategy", "contribution", "--k", 1, "--out", out).status == 0
    for command in (["explain", out, "test:1"], ["finetune", out]):
        done = cli_here(*command)
        assert (done.status, "responses alone" in done.err) == (1, True), done.err
