"""What a report shows where something is missing: images, classes, a whole run, the head."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.errors import DataError
from ddeep.experiments.settings import ReportConfig
from ddeep.reports import write_report
from ddeep.reports.findings import find
from tests.reports.conftest import make_run
from tests.reports.pages import read, visible
from tests.support.documents import read_document
from tests.support.helpers import Distributions


def test_without_images_the_run_itself_is_still_shown(digits_run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(digits_run, copied)
    document = read_document(copied / "run.json")
    document["config"]["dataset"] = "folder"
    document["config"]["data_dir"] = str(tmp_path / "gone")
    (copied / "run.json").write_text(json.dumps(document))
    found = find(copied)
    assert found.measured is None
    assert "There is no folder" in found.missing
    assert found.selection.filters
    assert found.final == "refit"


def test_changed_images_are_not_used(folder_run: Callable[..., Path]) -> None:
    run = folder_run(("a", "b"))
    data = Path(read_document(run / "run.json")["config"]["data_dir"])
    assert find(run, ReportConfig(no_layers=True)).measured is not None
    victim = next((data / "test" / "a").iterdir())
    victim.unlink()
    found = find(run, ReportConfig(no_layers=True))
    assert found.measured is None
    assert "images of the test split have changed since the run" in found.missing


HOLES = """
import torch
from ddeep import DatasetSpec, hookimpl
from ddeep.data.images import TensorImages


def opened(data_dir, split):
    pixels = torch.randint(0, 256, (8, 32, 32, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return TensorImages.of(pixels, torch.tensor([0, 2, 3, 0, 2, 3, 0, 2 if split == "test" else 1]), "abcd")


@hookimpl
def ddeep_datasets():
    yield DatasetSpec("holes", open=opened)
"""


def test_classes_without_images_have_no_figures(
    distributions: Distributions, untrained: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    """Class b is in the train split alone: it has filters, but nothing on the test split to measure them by."""
    distributions.install("ddeep-holes", HOLES)
    run = make_run(tmp_path / "run", dataset="holes", **untrained(tmp_path, 4))
    found = find(run, ReportConfig(no_layers=True))
    measured = found.measured
    assert measured is not None
    assert not measured.knockout[1].any()
    for table in (measured.means, measured.contributions):
        assert table[1].isnan().all()
        assert not table[[0, 2, 3]].isnan().any()
    assert found.selection.filters[1]
    assert found.drop(1) is None
    assert all(math.isfinite(found.drop(c)) for c in (0, 2, 3))
    page = read(write_report(run, ReportConfig(no_layers=True)).page)
    shown = [*page.texts, *(value for _, attributes in page.elements for value in attributes.values())]
    assert "b" in page.texts
    assert not [text for text in shown if re.search(r"\bnan\b", text)]


def test_classes_that_are_absent_are_named_and_lead_nowhere(
    distributions: Distributions, untrained: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    """The network has an output for class b, of which there is no image at all."""
    distributions.install("ddeep-absent", HOLES.replace('2 if split == "test" else 1', "3").replace("holes", "absent"))
    run = make_run(tmp_path / "run", dataset="absent", **untrained(tmp_path, 4))
    document = read_document(run / "run.json")
    assert document["absent"] == ["b"]
    written = write_report(run, ReportConfig(no_layers=True)).page
    page, text = read(written), visible(written)
    assert "Without images, and so without filters: b." in text
    assert f"Among the 3 classes with images alone: {document['accuracy_present']['refit']:.1f} %" in text
    assert page.tables["by-class"][1:]
    assert "b" not in [row[0] for row in page.tables["by-class"]]
    assert "#class-1" not in {a["href"] for a in page.of("a")}


def test_what_is_no_run_is_refused(tmp_path: Path, digits_run: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        find(tmp_path)
    shutil.copytree(digits_run, tmp_path / "run")
    document = read_document(tmp_path / "run" / "run.json")
    del document["per_class"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="not a whole run"):
        find(tmp_path / "run")


def test_an_inner_layer_has_responses_but_no_logits(tmp_path: Path) -> None:
    run = make_run(tmp_path / "inner", model="resnet20", strategy="paper", layer="layer1.1")
    found = find(run, ReportConfig(no_layers=True))
    assert found.stages == ["full"]
    measured = found.measured
    assert measured is not None
    assert measured.contributions is None
    assert measured.shares is None
    assert measured.knockout is None
    assert measured.means.shape == (10, 16)
    assert list(measured.confusions) == ["full"]
