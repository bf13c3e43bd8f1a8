"""Every installed spec keeps its promises, a new one without a test of its own, too."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ddeep.errors import PluginError
from ddeep.testing import Check, contract
from ddeep_plugins_builtin.datasets.cifar import _CIFAR10, _CIFAR100
from tests.contract.broken import broken
from tests.contract.good import GOOD_DATASET
from tests.support.helpers import Distributions
from tests.support.pictures import save_picture


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


PLUGIN = """
from ddeep import StrategySpec, hookimpl
@hookimpl
def ddeep_strategies():
    yield StrategySpec("{name}", select="tests.contract.good:mean", needs="tests.contract.good:sums")
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
