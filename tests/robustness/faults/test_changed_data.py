"""A dataset that changes between two commands: the second one reads it anew, whatever the cache holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.faults.commands import Place
from tests.support.pictures import class_folders, save_picture

CLASSES = {str(digit): 4 for digit in range(10)}


def result(place: Place, out: str) -> dict[str, Any]:
    """What a run found, without clocks and places."""
    status, said = place.run(out)
    assert status == 0, said
    document = json.loads((place.folder / out / "run.json").read_text())
    return {name: document[name] for name in ("hashes", "selection", "accuracy", "metrics")}


ONCE, EVERY_PASS = 32, 72  # the sides of images that are converted once, and of those decoded at every pass


@pytest.mark.parametrize(
    ("side", "change"),
    [(ONCE, "another picture"), (EVERY_PASS, "another picture"), (ONCE, "one less"), (EVERY_PASS, "another class")],
)
def test_the_cache_notices_that_images_have_changed(side: int, change: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for split in ("train", "test"):
        class_folders(images / split, CLASSES, side=side)
    place = Place(tmp_path / "place", images)
    before = result(place, "out-1")
    assert result(place, "out-2") == before
    first = images / "train" / "3" / "0.png"
    if change == "another picture":
        save_picture(first, 1000, side, side)
    elif change == "one less":
        first.unlink()
    else:
        first.rename(images / "train" / "5" / "x.png")
    after = result(place, "out-3")
    assert after["hashes"]["train"] != before["hashes"]["train"]
    assert after["hashes"]["test"] == before["hashes"]["test"]
    assert after == result(Place(tmp_path / "fresh", images), "out")
    assert after["metrics"] != before["metrics"]
