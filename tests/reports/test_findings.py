"""Every figure of a report against the slow and plain way: run the network on the images, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddeep.experiments.opening import open_subject
from ddeep.experiments.reopen import run_config
from ddeep.experiments.settings import ReportConfig
from ddeep.networks.head import Head
from ddeep.reports import write_report
from ddeep.reports.findings import TOP, Findings, find
from ddeep.results.run import load
from tests.reports.conftest import make_run
from tests.reports.pages import data_of, read, visible


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


def test_drop_and_users(found: Findings) -> None:
    row = found.document["per_class"][8]
    assert found.drop(8) == row["full"] - row["refit"]
    users = found.users()
    for c, filters in enumerate(found.selection.filters):
        assert all(c in users[j] for j in filters)
    assert sum(map(len, users.values())) == sum(map(len, found.selection.filters))
