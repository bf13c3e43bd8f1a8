"""Every installed spec keeps its promises, a new one without a test of its own, too; and the checks can fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import DataError, PluginError
from ddeep.images import TensorImages
from ddeep.selection import Selection
from ddeep.specs import (
    DatasetSpec,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    RegularizerSpec,
    Spec,
    StrategySpec,
    WeightsSpec,
    resolve,
)
from ddeep.statistic import ResponseBatch, Statistic
from ddeep.statistics import ClassSums
from ddeep.testing import BrokenPromise, Check, Unchecked, contract
from ddeep.testing.contract import _promises
from ddeep_plugins_builtin.datasets.cifar import _CIFAR10, _CIFAR100
from tests.helpers import Distributions
from tests.pictures import save_picture


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A few pictures in the layout of every built-in dataset, and the weights that are at hand."""
    root = tmp_path_factory.mktemp("data")
    wordnet = ["n01440764", "n01443537"]
    layouts = {"": ["a", "b"], "imagenet": wordnet, "tiny-imagenet-200": wordnet}
    layouts |= {cifar.folder: list(cifar.classes) for cifar in (_CIFAR10, _CIFAR100)}
    for folder, classes in layouts.items():
        for number, split in enumerate(("train", "val" if "imagenet" in folder else "test")):
            for name in classes:
                save_picture(root / folder / split / name / "0.png", seed=number, height=32, width=32)
    if (data_dir / "weights").is_dir():
        (root / "weights").symlink_to((data_dir / "weights").resolve())
    return root


@pytest.mark.parametrize("check", contract("ddeep"), ids=str)
def test_built_ins(check: Check, small_data: Path) -> None:
    replace(check, data_dir=small_data)()


def broken(kind: str, spec: Spec, tmp_path: Path, only: str = "") -> dict[str, str]:
    """The promises that ``spec`` breaks, with the messages; with ``only``, of that one promise."""
    found = {}
    for promise in _promises(kind, spec):
        if only in ("", promise.text):
            try:
                Check(kind, spec, promise, tmp_path)()
            except BrokenPromise as error:
                found[promise.text] = str(error)
            except Unchecked:
                pass
    return found


def test_good_specs_break_no_promise(tmp_path: Path) -> None:
    assert broken("strategies", GOOD_STRATEGY, tmp_path) == {}
    assert broken("metrics", GOOD_METRIC, tmp_path) == {}
    assert broken("regularizers", GOOD_REGULARIZER, tmp_path) == {}
    assert broken("models", GOOD_MODEL, tmp_path) == {}
    (tmp_path / "here").touch()
    assert broken("datasets", GOOD_DATASET, tmp_path) == {}


# Strategies


def sums(_ks: Any) -> list[Statistic]:
    return [ClassSums()]


def mean(evidence: Any, _k: Any, _context: Any) -> Tensor:
    return evidence[ClassSums()].sums / evidence.class_counts.clamp(min=1)[:, None]


GOOD_STRATEGY = StrategySpec("good", needs=sums, select=mean, summary="mean response", source="here")


def not_finite(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context).log() - torch.inf


def by_class_index(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context).roll(1, 1) * torch.arange(evidence.classes)[:, None].cos()


def of_the_first_image(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) + 10 * evidence.responses[0]


def with_global_randomness(evidence: Any, _k: Any, _context: Any) -> Tensor:
    return torch.rand(evidence.classes, evidence.filters)


def scaled_by_k(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) * k


def of_the_head(evidence: Any, k: Any, context: Any) -> Tensor:
    return mean(evidence, k, context) * context.needed_head().weight


def in_place(evidence: Any, k: Any, context: Any) -> Tensor:
    found = mean(evidence, k, context)
    evidence[ClassSums()].sums.zero_()
    return found


def with_training_mode(evidence: Any, k: Any, context: Any) -> Tensor:
    context.module.train()
    return mean(evidence, k, context)


def with_nothing_for_the_absent(evidence: Any, _k: Any, _context: Any) -> Tensor:
    return evidence[ClassSums()].sums / evidence.class_counts[:, None]


def never_absent(evidence: Any, k: Any, _context: Any) -> Selection:
    return Selection.of([range(k)] * evidence.classes, evidence.filters)


def empty_for_a_fraction(evidence: Any, k: Any, context: Any) -> Selection:
    if isinstance(k, float):
        return Selection.of([[]] * evidence.classes, evidence.filters, absent=range(evidence.classes))
    return Selection.top(mean(evidence, k, context), k, present=evidence.present)


def with_the_head_of_another_class(evidence: Any, k: Any, context: Any) -> Selection:
    means = mean(evidence, k, context).float()
    chosen = Selection.top(means, k, present=evidence.present)
    return chosen.with_head(means * (1 + torch.arange(evidence.classes))[:, None], torch.zeros(evidence.classes))


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"summary": ""}, "its metadata is complete", "say in one line"),
        ({"source": " "}, "its metadata is complete", "name the paper"),
        ({"select": "no.such.package:select"}, "its functions can be imported", "package.module:function"),
        ({"select": not_finite}, "it scores every class and filter, for every k", "finite score"),
        (
            {"select": lambda e, k, c: mean(e, k, c)[:, 1:]},
            "it scores every class and filter, for every k",
            "every class",
        ),
        ({"select": lambda *_: [1, 2]}, "it scores every class and filter, for every k", "not scores or a Selection"),
        ({"select": scaled_by_k}, "scores that serve every k do not depend on it", "per_k=True"),
        (
            {"select": empty_for_a_fraction, "fractions": True},
            "it takes a fraction as k, if it says so",
            "one at least",
        ),
        ({"select": with_global_randomness}, "it is deterministic", "context.generator()"),
        ({"select": of_the_first_image, "learned": True}, "batch size and order of the images do not matter", "sums"),
        ({"select": by_class_index}, "renaming classes renames its selection", "all classes alike"),
        (
            {"select": with_the_head_of_another_class},
            "renaming classes renames its selection",
            "treat all classes alike",
        ),
        ({"select": with_nothing_for_the_absent}, "a class without images is absent", "NaN"),
        ({"select": never_absent}, "a class without images is absent", "~evidence.present"),
        ({"select": in_place}, "network and evidence stay as they were", "copies"),
        ({"select": with_training_mode}, "network and evidence stay as they were", "training mode"),
        ({"select": of_the_first_image}, "it needs no more than its flags say", "learned=True"),
        ({"select": of_the_head}, "it needs no more than its flags say", "head_only=True"),
    ],
)
def test_broken_strategies(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("strategies", replace(GOOD_STRATEGY, **change), tmp_path, promise)[promise]


def test_stochastic_strategies_need_not_ignore_order_and_names(tmp_path: Path) -> None:
    def drawn(evidence: Any, k: Any, context: Any) -> Tensor:
        noise = torch.rand(evidence.classes, evidence.filters, generator=context.generator())
        return mean(evidence, k, context) * 0 + noise

    assert "renaming classes renames its selection" in broken(
        "strategies", replace(GOOD_STRATEGY, select=drawn), tmp_path
    )
    assert broken("strategies", replace(GOOD_STRATEGY, select=drawn, stochastic=True), tmp_path) == {}


class Unequal(ClassSums):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Averaging(ClassSums):
    def update(self, batch: ResponseBatch) -> None:
        super().update(batch)
        self.sums /= len(batch.labels)


class Larger(ClassSums):
    memory = "4*C*K"


class Forgetful(ClassSums):
    def load_state(self, state: dict[str, Tensor]) -> None:
        pass


@pytest.mark.parametrize(
    ("statistic", "fix"),
    [
        (Unequal, "unsafe_hash=True"),
        (Averaging, "only add"),
        (Larger, "as a formula"),
        (Forgetful, "accumulator() field"),
    ],
)
def test_broken_statistics(statistic: type[Statistic], fix: str, tmp_path: Path) -> None:
    merge = "its statistics merge, save and state their size"
    spec = replace(GOOD_STRATEGY, needs=lambda _ks: [statistic()])
    assert fix in broken("strategies", spec, tmp_path, merge)[merge]
    metric = replace(GOOD_METRIC, needs=lambda _split: [statistic()])
    assert fix in broken("metrics", metric, tmp_path, merge)[merge]


# Metrics


def brightest(evidence: Any, _selection: Any, _context: Any) -> dict[str, Any]:
    means = evidence.train[ClassSums()].sums.sum(0) / evidence.train.class_counts.sum()
    return {"mean": float(means.mean()), "largest": float(means.max())}


GOOD_METRIC = MetricSpec(
    "good", needs=lambda _split: [ClassSums()], measure=brightest, of="layer", summary="mean response", source="here"
)


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"measure": lambda *_: torch.ones(2)}, "its figures are JSON, absent classes or not", "tolist()"),
        ({"measure": lambda *_: float("nan")}, "its figures are JSON, absent classes or not", "None for what"),
        ({"measure": lambda *_: float(torch.rand(()))}, "it is deterministic", "context.generator()"),
        (
            {"measure": lambda e, *_: float(e.train.responses[0].sum())},
            "batch size and order of the images do not matter",
            "stochastic",
        ),
        (
            {"measure": lambda e, *_: float(e.train[ClassSums()].sums[0].sum())},
            "renaming classes keeps its figures",
            "all classes alike",
        ),
        ({"measure": lambda _e, s, _c: len(s.filters) if s else 0}, "it needs no more than its flags say", "selection"),
        (
            {"measure": lambda _e, _s, c: float(c.needed_head().weight.sum())},
            "it needs no more than its flags say",
            "head_only=True",
        ),
        (
            {"measure": lambda e, *_: float(e.train.responses.mul_(2).sum())},
            "network and evidence stay as they were",
            "copies",
        ),
        (
            {"measure": lambda e, *_: float(e.train.responses.sum())},
            "it needs no more than its flags say",
            'responses=("train",)',
        ),
        (
            {"measure": lambda e, *_: float(e.of_test().responses.sum())},
            "it needs no more than its flags say",
            'responses=("test",)',
        ),
        (
            {"measure": lambda _e, _s, c: float(sum(view.logits.mean() for view in c.needed_run()[1]()))},
            "it needs no more than its flags say",
            "reruns=True",
        ),
    ],
)
def test_broken_metrics(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("metrics", replace(GOOD_METRIC, **change), tmp_path, promise)[promise]


# Regularizers


def spread(_classes: int, _filters: Any, alpha: float) -> Callable[..., Tensor]:
    return lambda responses, _labels: alpha * torch.stack([r.square().mean() for r in responses.values()]).sum()


def of(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _classes, _filters, alpha: lambda responses, labels: alpha * function(responses["late"], labels)


GOOD_REGULARIZER = RegularizerSpec("good", build=spread, options={"alpha": 1.0}, summary="squares", source="here")


@pytest.mark.parametrize(
    ("build", "promise", "fix"),
    [
        (of(lambda r, _: r.mean(0)), "it is a finite scalar for every batch", "scalar tensor"),
        (of(lambda r, _: r.std(0).mean()), "it is a finite scalar for every batch", "0 where it is not defined"),
        (of(lambda r, _: r.detach().mean()), "it has finite gradients", "from the responses"),
        (of(lambda r, _: (0 * r.sum(1)).sqrt().sum()), "it has finite gradients", "away from 0"),
        (of(lambda r, _: r.mean() + torch.randn(())), "it is deterministic", "no random numbers"),
        (of(lambda r, _: r[0].mean()), "the order of a batch does not matter", "alike"),
        (of(lambda r, _: r.data.mul_(2).sum() + r.sum()), "the responses stay as they were", "in place"),
    ],
)
def test_broken_regularizers(build: Any, promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("regularizers", replace(GOOD_REGULARIZER, build=build), tmp_path, promise)[promise]


def test_options_are_numbers(tmp_path: Path) -> None:
    spec = replace(GOOD_REGULARIZER, build=lambda *_, **__: spread(0, 0, 1.0))
    object.__setattr__(spec, "options", {"mode": "mean"})  # past the tests' own checks of annotations
    assert list(broken("regularizers", spec, tmp_path)) == ["its options are numbers"]


# Models


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.drop = nn.Dropout()
        self.head = nn.Linear(5, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.drop(self.features(x)))


class OfTheBatch(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) - super().features(x).mean(0)


class Noisy(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + torch.randn(5)


class Counting(Net):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("calls", torch.zeros(()))

    def features(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().features(x)


class Auxiliary(Net):
    def forward(self, x: Tensor) -> Any:
        return (super().forward(x), x) if self.training else super().forward(x)


class Detached(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).log_softmax(1) * 0


class Largest(Net):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x).amax((2, 3)))


def net_weights(**changes: Any) -> WeightsSpec:
    given = {"state": lambda: Net(3).state_dict(), "num_classes": 3, "size": 12, "dataset": "digits"} | changes
    return WeightsSpec("w", mean=(0.5,) * 3, std=(0.5,) * 3, **given)


GOOD_MODEL = ModelSpec(
    "good", build=Net, head="head", layer="body", weights=(net_weights(),), summary="a net", source="here"
)


@pytest.mark.parametrize(
    ("change", "promise", "fix"),
    [
        ({"build": lambda _: Net(10)}, "it gives logits (N, C)", "number of classes"),
        ({"build": lambda _: "net"}, "it gives logits (N, C)", "nn.Module"),
        ({"build": OfTheBatch}, "each image is judged by itself", "training mode only"),
        ({"build": Noisy}, "a pass changes nothing and can be repeated", "no noise"),
        ({"build": Counting}, "a pass changes nothing and can be repeated", "calls"),
        ({"build": Auxiliary}, "it trains", "auxiliary heads"),
        ({"build": Detached}, "it trains", "gradients"),
        ({"layer": "body.1"}, "its layer, pooled, feeds its head", "pooled output"),
        ({"head": "body.0"}, "its layer, pooled, feeds its head", "nn.Linear"),
        ({"build": Largest}, "its layer, pooled, feeds its head", "pooled output"),
        ({"build": Largest, "layer": None}, "its layer, pooled, feeds its head", "name them"),
        ({"dataset": "cifar11"}, "its weights are described", "name one of"),
        ({"weights": (net_weights(state=None),)}, "its weights are described", "file, url"),
        ({"weights": (net_weights(state=None, url="http://a/b.pt"),)}, "its weights are described", "https"),
        ({"weights": (net_weights(resize=8),)}, "its weights are described", "cannot be cropped"),
    ],
)
def test_broken_models(change: dict[str, Any], promise: str, fix: str, tmp_path: Path) -> None:
    assert fix in broken("models", replace(GOOD_MODEL, **change), tmp_path, promise)[promise]


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    torch.save(Net(4).state_dict(), tmp_path / "four.pt")
    (tmp_path / "weights").mkdir()
    (tmp_path / "four.pt").rename(tmp_path / "weights" / "four.pt")
    weights = net_weights(state=None, filename="four.pt")
    assert "unfit" in broken("models", replace(GOOD_MODEL, weights=(weights,)), tmp_path)["its weights load"]
    fitting = replace(weights, num_classes=4)
    assert broken("models", replace(GOOD_MODEL, weights=(fitting,)), tmp_path) == {}


def test_broken_families(tmp_path: Path) -> None:
    good = ModelFamily("timm", names=lambda: ["a"], resolve=lambda _name: GOOD_MODEL, summary="many", source="here")
    found = broken("models", good, tmp_path)
    assert "raise LookupError" in found["unknown names are refused"]
    twice = replace(
        good, names=lambda: ["resnet18", "resnet18"], resolve=resolve("builtins:dict").fromkeys([]).__getitem__
    )
    assert list(broken("models", twice, tmp_path)) == ["its names resolve"]


# Datasets


def images(data_dir: Path, split: str, **changes: Any) -> TensorImages:
    if not (data_dir / "here").exists():
        raise NoDataError(f"Nothing in {data_dir}")
    pixels = torch.zeros(4, 2, 2, 3, dtype=torch.uint8)
    given = {"pixels": pixels, "labels": torch.tensor([0, 1, 0, 1]), "classes": ("a", "b")}
    made = object.__new__(TensorImages)  # past the tests' own checks of annotations
    for name, value in ({"content_hash": f"{len(split):064x}"} | given | changes).items():
        object.__setattr__(made, name, value)
    return made


class NoDataError(DataError):
    pass


GOOD_DATASET = DatasetSpec("good", open=images, num_classes=2, summary="two classes", source="here")


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


# Choosing plugins

PLUGIN = """
from ddeep import StrategySpec, hookimpl
@hookimpl
def ddeep_strategies():
    yield StrategySpec("{name}", select="tests.test_contract:mean", needs="tests.test_contract:sums")
"""


def test_a_plugin_is_chosen_by_distribution_or_entry_point(distributions: Distributions) -> None:
    distributions.install("two-in-one", PLUGIN.format(name="one"), entry="first")
    module = distributions.module("second_module", PLUGIN.format(name="two"))
    info = distributions.site / "two_in_one-1.0.dist-info" / "entry_points.txt"
    info.write_text(info.read_text() + f"second = {module}\n")
    assert {check.spec.name for check in contract("two_in_one")} == {"one", "two"}
    assert {check.spec.name for check in contract("two-in-one:second")} == {"two"}
    with pytest.raises(PluginError, match=r"No plugin 'two-in-on' is installed. Did you mean 'two-in-one'"):
        contract("two-in-on")


def test_a_plugin_that_failed_to_load_says_why(distributions: Distributions) -> None:
    distributions.install("failing", "import no_such_package")
    with pytest.raises(PluginError, match=r"failing:plugin was not loaded: ModuleNotFoundError"):
        contract("failing")


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    spec = replace(GOOD_DATASET, open=lambda *_: seen.append(os.environ["DDEEP_OFFLINE"]))
    monkeypatch.delenv("DDEEP_OFFLINE", raising=False)
    broken("datasets", spec, tmp_path)
    assert set(seen) == {"1"}
    assert "DDEEP_OFFLINE" not in os.environ
