"""The commands as functions, for a module and loaders: a few lines, and the same documents."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import ddeep
from ddeep.data.loaded import LoadedImages
from ddeep.errors import ConfigError, DataError
from ddeep.results.comparison import check_comparison_document
from ddeep.results.run import check_run_document
from tests.support.toys import CLASSES, pictures


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))  # type: ignore[no-any-return]


def loader(count: int, seed: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*pictures(count, seed=seed)), batch_size=16, **options)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(20):
        for images, labels in loader(160, 1):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net


@pytest.fixture(scope="module")
def result(model: nn.Module) -> ddeep.RunResult:
    return ddeep.run(
        model=model, train=loader(160, 1, shuffle=True), test=loader(60, 2), strategy="contribution", k=2, device="cpu"
    )


def test_a_run_is_that_of_the_short_functions(model: nn.Module, result: ddeep.RunResult) -> None:
    check_run_document(result.document)
    selection = ddeep.select(model, loader(160, 1), strategy="contribution", k=2)
    assert result.selection.filters == selection.filters
    accuracy = result.document["accuracy"]
    assert accuracy["full"] == pytest.approx(ddeep.evaluate(model, loader(60, 2)))
    assert accuracy["decomposed"] == pytest.approx(ddeep.evaluate(ddeep.decompose(model, selection), loader(60, 2)))
    assert result.model is not None
    last = accuracy["refit"] if accuracy["refit"] is not None else accuracy["decomposed"]
    assert ddeep.evaluate(result.model, loader(60, 2)) == pytest.approx(last)
    assert model.training  # as it was


def test_saved_reported_and_explained(result: ddeep.RunResult, tmp_path: Path) -> None:
    written = ddeep.report(result, tmp_path / "page.html")
    assert not written.missing
    assert "data:image/webp" in written.page.read_text()
    explanation = ddeep.explain(result, "test:3")
    assert explanation._repr_png_().startswith(b"\x89PNG")
    lines = repr(explanation).splitlines()
    assert lines[0].startswith("test:3, true class ")
    assert lines[1].split() == ["class", "filter", "response", "typical", "weight", "W·r"]
    assert len(lines) == 2 + sum(len(logit.terms) + 2 for logit in explanation.logits)
    assert max(map(len, lines)) <= 80
    part = explanation.logits[0]
    images, labels = pictures(60, seed=2)
    assert result.model is not None
    with torch.no_grad():
        logits = result.model(images[3:4])
    assert explanation.true == int(labels[3])
    assert part.logit == pytest.approx(float(logits[0, part.index]), abs=1e-4)
    with pytest.raises(DataError, match="the test split has images 0 to 59"):
        ddeep.explain(result, "test:60")


def test_fine_tuned_with_the_users_own_loader(result: ddeep.RunResult, tmp_path: Path) -> None:
    tuned = ddeep.finetune(result, epochs=2, lr=0.01, ema=0, out=tmp_path / "tuned", device="cpu")
    assert tuned.model is not None
    assert tuned.document["accuracy"]["finetuned"] == pytest.approx(ddeep.evaluate(tuned.model, loader(60, 2)))
    mask = result.selection.mask()
    assert not tuned.model.get_submodule("fc").weight[~mask].any()
    assert result.model is not None
    before, after = result.model.state_dict(), tuned.model.state_dict()
    assert not torch.equal(before["body.0.weight"], after["body.0.weight"])
    assert "finetuned" not in result.document["accuracy"]
    again = ddeep.finetune(result, epochs=2, lr=0.01, ema=0, device="cpu")  # shuffled from the seed
    assert again.model is not None
    assert all(torch.equal(tensor, after[name]) for name, tensor in again.model.state_dict().items())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_all_work_where_gradients_are_off(
    result: ddeep.RunResult, model: nn.Module, tmp_path: Path, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    with mode():
        train, test = loader(160, 1, shuffle=True), loader(60, 2)
        found = ddeep.run(
            model=copy.deepcopy(model), train=train, test=test, strategy="contribution", k=2, device="cpu"
        )
        assert ddeep.report(found, tmp_path / "page.html").page.exists()
        assert ddeep.explain(found, "test:3").true is not None
        tuned = ddeep.finetune(found, epochs=1, ema=0, device="cpu")
        ddeep.compare(model=model, train=train, test=test, strategies="gradient-activation", k=[2], device="cpu")
    assert found.selection.filters == result.selection.filters
    assert found.document["accuracy"] == result.document["accuracy"]
    assert tuned.model is not None
    F.cross_entropy(tuned.model(pictures(8)[0]), pictures(8)[1]).backward()


def test_compared(model: nn.Module, tmp_path: Path) -> None:
    found = ddeep.compare(
        model=model, train=loader(160, 1), test=loader(60, 2), strategies=["paper", "weight"], k=[1, 2],
        classes=["a", "b", "c", "d"], device="cpu",
    )  # fmt: skip
    check_comparison_document(found.document)
    assert [row["k"] for row in found.document["rows"]] == [1, 1, 2, 2]
    assert (found.save(tmp_path / "c") / "comparison.csv").exists()
    page = ddeep.report(tmp_path / "c").page.read_text()
    assert "weight" in page
    assert found._repr_html_().count("<tr>") == 1 + 4
    assert found._repr_html_().count('<img src="data:image/png;base64,') >= 2
    assert re.search(r'<td style="white-space:nowrap">[\d.]+ to [\d.]+</td>', found._repr_html_())
    assert ddeep.report(found, tmp_path / "other.html").page.exists()


def test_tables_and_frames(result: ddeep.RunResult) -> None:
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + CLASSES
    assert re.search("<caption[^>]*>Net on loaders, layer body", html)
    assert result.selection._repr_html_().count("<tr>") == 1 + 2 * CLASSES
    title, head, *rows = repr(result).splitlines()
    assert title in html
    assert head.split()[:3] == ["class", "images", "filters"]
    assert [row.split()[0] for row in rows] == [row["class"] for row in result.document["per_class"]]
    pytest.importorskip("pandas")
    frame = result.selection.to_pandas()
    assert list(frame.columns) == ["class", "rank", "filter", "score"]
    assert frame["filter"].tolist() == [j for row in result.selection.filters for j in row]
    assert result.to_pandas()["full"].tolist() == [row["full"] for row in result.document["per_class"]]


def test_a_comparison_as_a_frame_has_numbers(model: nn.Module) -> None:
    pandas = pytest.importorskip("pandas")
    given = {"model": model, "train": loader(160, 1), "test": loader(60, 2), "device": "cpu"}
    found = ddeep.compare(**given, strategies=["paper", "weight"], k=[1, 2])
    frame = found.to_pandas()
    assert frame["decomposed"].tolist() == [row["decomposed"] for row in found.document["rows"]]
    assert pandas.api.types.is_float_dtype(frame["decomposed_low"])
    assert frame.columns.is_unique


def test_without_pandas(result: ddeep.RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install 'ddeep\[notebook\]'"):
        result.to_pandas()


def test_names_of_classes_are_escaped() -> None:
    selection = ddeep.Selection.of([[0], [1]], 2).named(["<b>", "cat"])
    assert "&lt;b&gt;" in selection._repr_html_()


def test_a_terminal_shows_as_much_as_it_can_read() -> None:
    selection = ddeep.Selection.of([[0]] * 50, 2).named([f"\x1b[31m{c}" for c in range(50)])
    lines = repr(selection).splitlines()
    assert len(lines) == 1 + 1 + 40 + 1
    assert lines[-1] == "… and 10 more rows"
    assert "\x1b" not in repr(selection)


def test_loaders_are_read_in_one_order() -> None:
    images, labels = pictures(40)
    classes = ("a", "b", "c", "d")
    whole = LoadedImages.of(loader(40, 0), classes)
    shuffled = LoadedImages.of(loader(40, 0, shuffle=True), classes)
    listed = LoadedImages.of([(images[:13], labels[:13]), (images[13:], labels[13:])], classes)
    images, labels = pictures(40, seed=0)
    for loaded in (whole, shuffled):
        assert torch.equal(torch.cat([batch.images for batch in loaded.read()]), images)
        assert torch.equal(loaded.labels, labels)
        assert torch.equal(loaded.fetch([3, 20, 3]), images[[3, 20, 3]])
    assert whole.content_hash == shuffled.content_hash
    assert torch.equal(listed.fetch([1, 30]), pictures(40)[0][[1, 30]])
    assert listed.pictures(listed.fetch([0])).shape == (1, *images.shape[2:], 3)

    class Restless:
        def __iter__(self) -> Any:
            return iter([(images[(order := torch.randperm(40))], labels[order])])

    restless = LoadedImages.of(Restless(), classes)
    with pytest.raises(DataError, match="in another order each time"):
        list(restless.read())


def test_what_does_not_go_together_is_refused(model: nn.Module) -> None:
    batches = loader(20, 1)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model": model, "train": batches}, "A module needs loaders"),
        ({"model": "resnet20", "train": batches, "test": batches}, "go with a module"),
        ({"model": model, "train": batches, "test": batches, "weights": "x.pth"}, "weights goes with a model's name"),
        ({"model": model, "train": batches, "test": batches, "strategi": "paper"}, "strategi"),
    ]
    for settings, problem in cases:
        with pytest.raises(ConfigError, match=problem):
            ddeep.run(**{"strategy": "paper", **settings})
    one_hot = [(images, F.one_hot(labels, CLASSES)) for images, labels in batches]
    with pytest.raises(DataError, match="multi-label data"):
        ddeep.run(model=model, train=one_hot, test=one_hot, strategy="paper")
