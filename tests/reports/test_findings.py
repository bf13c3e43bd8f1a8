"""Every figure of a report against the slow and plain way: run the network on the images, one by one."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddeep.errors import DataError
from ddeep.experiments.opening import open_subject
from ddeep.experiments.reopen import run_config
from ddeep.experiments.settings import ReportConfig
from ddeep.networks.head import Head
from ddeep.reports import write_report
from ddeep.reports.depth import spread_layers
from ddeep.reports.findings import TOP, Findings, find
from ddeep.results.run import load
from tests.reports.conftest import make_run
from tests.reports.pages import data_of, read, visible
from tests.support.documents import read_document
from tests.support.helpers import Distributions


@dataclass
class Plain:
    """Responses of every image, the plain way, and the parameters of the head."""

    train: Tensor
    test: Tensor
    train_labels: list[int]
    labels: list[int]
    weight: Tensor
    bias: Tensor


@pytest.fixture(scope="module")
def found(digits_run: Path) -> Findings:
    return find(digits_run)


@pytest.fixture(scope="module")
def plain(found: Findings) -> Plain:
    subject = open_subject(run_config(found.document))
    module, preprocessing = subject.network.module, subject.network.preprocessing
    seen: list[Tensor] = []
    handle = module.get_submodule(found.document["layer"]).register_forward_hook(lambda _m, _i, o: seen.append(o))
    responses = {}
    with torch.no_grad():
        for split in ("train", "test"):
            seen.clear()
            for pixels in subject.images[split].pixels.split(100):
                module(preprocessing.normalise(preprocessing.fit(pixels)))
            responses[split] = torch.cat(seen).mean((2, 3))
    handle.remove()
    head = module.get_submodule(found.document["head"])
    return Plain(
        responses["train"],
        responses["test"],
        subject.labels("train").tolist(),
        subject.labels("test").tolist(),
        head.weight.detach(),
        head.bias.detach(),
    )


def test_contributions_shares_and_means(found: Findings, plain: Plain) -> None:
    measured = found.measured
    assert measured is not None
    for c in (0, 3, 9):
        rows = [row for row, label in zip(plain.test.double(), plain.labels, strict=True) if label == c]
        for j in (0, *found.selection.filters[c]):
            mean = sum(float(row[j]) for row in rows) / len(rows)
            contributions = [
                float(plain.weight[c, i]) * sum(float(row[i]) for row in rows) / len(rows) for i in range(64)
            ]
            assert measured.means[c, j].item() == pytest.approx(mean, rel=1e-4, abs=1e-6)
            assert measured.contributions[c, j].item() == pytest.approx(contributions[j], rel=1e-4, abs=1e-6)
            assert measured.shares[c, j].item() == pytest.approx(
                contributions[j] / sum(map(abs, contributions)), rel=1e-3, abs=1e-6
            )
    assert torch.allclose(measured.shares.abs().sum(1), torch.ones(10, dtype=torch.float64))


def test_knockout_silences_one_filter_in_the_full_network(found: Findings, plain: Plain) -> None:
    measured = found.measured
    assert measured is not None
    assert measured.knockout is not None
    images = torch.tensor(plain.labels)
    for j in (found.selection.filters[8][0], 7):
        silenced = plain.test.clone()
        silenced[:, j] = 0
        before = (plain.test @ plain.weight.T + plain.bias).argmax(1)
        after = (silenced @ plain.weight.T + plain.bias).argmax(1)
        for c in range(10):
            own = images == c
            change = int((after[own] == c).sum()) - int((before[own] == c).sum())
            assert measured.knockout[c, j].item() == change


def test_confusions_are_those_of_the_saved_networks_and_agree_with_the_run(found: Findings, plain: Plain) -> None:
    measured = found.measured
    assert measured is not None
    assert list(measured.confusions) == ["full", "decomposed", "refit"]
    saved = load(found.folder).get_submodule(found.document["head"])
    mask = torch.zeros(10, 64)
    for c, filters in enumerate(found.selection.filters):
        mask[c, list(filters)] = 1
    heads = {
        "full": (plain.weight, plain.bias),
        "decomposed": (plain.weight * mask, plain.bias),
        "refit": (saved.weight.detach(), saved.bias.detach()),
    }
    for stage, (weight, bias) in heads.items():
        table = torch.zeros(10, 10, dtype=torch.int64)
        for true, called in zip(plain.labels, (plain.test @ weight.T + bias).argmax(1).tolist(), strict=True):
            table[true, called] += 1
        assert torch.equal(measured.confusions[stage].to_dense(), table), stage
        accuracy = 100 * table.diagonal().sum().item() / table.sum().item()
        assert accuracy == pytest.approx(found.document["accuracy"][stage]), stage


def test_a_fine_tuned_run_is_judged_by_the_network_it_has_saved(finetuned_run: Path, plain: Plain) -> None:
    found = find(finetuned_run, ReportConfig(no_layers=True))
    assert found.stages == ["full", "decomposed", "refit", "finetuned"]
    assert found.final == "finetuned"
    assert found.measured is not None
    subject, saved = found.measured.subject, load(finetuned_run).eval()
    table = torch.zeros(10, 10, dtype=torch.int64)
    with torch.no_grad():
        for pixels, label in zip(subject.images["test"].pixels.split(1), plain.labels, strict=True):
            fitted = subject.network.preprocessing.normalise(subject.network.preprocessing.fit(pixels))
            table[label, int(saved(fitted).argmax())] += 1
    assert torch.equal(found.measured.confusions["finetuned"].to_dense(), table)
    for c, row in enumerate(found.document["per_class"]):
        assert row["finetuned"] == pytest.approx(100 * int(table[c, c]) / int(table[c].sum()))
        assert found.drop(c) == pytest.approx(row["full"] - row["finetuned"])


def test_a_run_may_end_with_the_head_its_strategy_learned(tmp_path: Path, plain: Plain) -> None:
    run = make_run(tmp_path / "run", model="resnet20", strategy="pruned-refit", k=3, no_refit=True)
    found = find(run, ReportConfig(no_layers=True))
    assert found.stages == ["full", "decomposed", "learned"]
    assert found.measured is not None
    assert found.selection.head is not None
    weight, bias = found.selection.learned_head(Head(plain.weight, plain.bias))
    right = int(((plain.test @ weight.T + bias).argmax(1) == torch.tensor(plain.labels)).sum())
    assert int(found.measured.confusions["learned"].to_dense().diagonal().sum()) == right
    assert found.document["accuracy"]["learned"] == pytest.approx(100 * right / len(plain.labels))
    assert found.drop(4) == found.document["per_class"][4]["full"] - found.document["per_class"][4]["learned"]
    page = write_report(run, ReportConfig(no_layers=True)).page
    assert "the head that the strategy learned along with them" in visible(page)
    columns = ["class", "images", *found.stages, "interval", "lost", "filters, best first"]
    assert read(page).tables["by-class"][0] == columns
    assert list(data_of(page)["switch"]["heads"]) == found.stages


def test_top_images_are_those_with_the_largest_responses(found: Findings, plain: Plain) -> None:
    measured = found.measured
    assert measured is not None
    for j in found.selection.filters[4]:
        largest = plain.train[:, j].sort(descending=True).values[:TOP]
        assert torch.allclose(measured.top.responses[j], largest, rtol=1e-4)
        assert torch.allclose(plain.train[measured.top.indices[j], j], largest, rtol=1e-4)


def test_metrics_over_layers_rise_to_the_runs_own(found: Findings) -> None:
    measured = found.measured
    assert measured is not None
    names = [row.layer for row in measured.depth]
    assert names[-1] == found.document["layer"]
    assert names == sorted(set(names), key=names.index)
    assert 10 <= len(names) <= 24
    own = measured.depth[-1]
    assert own.filters == 64
    assert own.figures["psi"] == pytest.approx(found.document["metrics"]["psi"]["median"])
    assert own.figures["class-selectivity"] == pytest.approx(found.document["metrics"]["class_selectivity"])


def test_spread_layers_come_in_the_order_of_the_forward_pass(found: Findings) -> None:
    assert found.measured is not None
    subject = found.measured.subject
    finished: list[str] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: finished.append(name))
        for name, module in subject.network.module.named_modules()
    ]
    with torch.no_grad():
        subject.network.module(subject.example)
    for handle in handles:
        handle.remove()
    names = [layer.name for layer in spread_layers(subject)]
    assert names == sorted(names, key=finished.index)


def test_asked_layers_alone(digits_run: Path) -> None:
    found = find(digits_run, ReportConfig(layers=["layer2.1", "layer3.*.relu1"]))
    assert found.measured is not None
    assert [row.layer for row in found.measured.depth] == [
        "layer2.1",
        "layer3.0.relu1",
        "layer3.1.relu1",
        "layer3.2.relu1",
    ]
    assert find(digits_run, ReportConfig(no_layers=True)).measured.depth == []


def test_drop_and_users(found: Findings) -> None:
    row = found.document["per_class"][8]
    assert found.drop(8) == row["full"] - row["refit"]
    users = found.users()
    for c, filters in enumerate(found.selection.filters):
        assert all(c in users[j] for j in filters)
    assert sum(map(len, users.values())) == sum(map(len, found.selection.filters))


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
