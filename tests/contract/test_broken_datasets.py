"""The checks of datasets can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.broken import broken
from tests.contract.good import GOOD_DATASET, NoDataError, images


@pytest.mark.parametrize(
    ("changes", "promise", "fix"),
    [
        ({"pixels": torch.zeros(4, 3, 2, 2, dtype=torch.uint8)}, "it opens to images", "(N, H, W, 3)"),
        ({"pixels": torch.zeros(3, 2, 2, 3, dtype=torch.uint8)}, "it opens to images", "one image for each label"),
        ({"labels": torch.tensor([0, 1, 2, 1])}, "its labels fit its classes", "indices into"),
        ({"classes": ("a", "a")}, "its labels fit its classes", "its own name"),
        ({"content_hash": "abc"}, "its content is hashed", "sha256"),
        ({"content_hash": "a" * 64}, "its content is hashed", "sha256"),
    ],
)
def test_broken_datasets(changes: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    spec = replace(GOOD_DATASET, open=lambda data_dir, split: images(data_dir, split, **changes))
    assert fix in broken("datasets", spec, tmp_path, promise)[promise]


def test_datasets_without_their_files(tmp_path: Path) -> None:
    def fails(data_dir: Path, _split: str) -> Any:
        return (data_dir / "images.bin").read_bytes()

    def silent(_data_dir: Path, _split: str) -> Any:
        raise NoDataError("no data")

    for opener, fix in {fails: "DataError", silent: "name the folder"}.items():
        found = broken("datasets", replace(GOOD_DATASET, open=opener), tmp_path)
        assert fix in found["missing files are a clear error"]


def test_a_good_one_breaks_no_promise(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    assert broken("datasets", GOOD_DATASET, tmp_path) == {}
