"""Runs to report on: handwritten digits with the packaged network, and classes with names that mean harm."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ddeep.experiments.compare import run_comparison
from ddeep.experiments.finetune import finetune
from ddeep.experiments.run import run
from ddeep.experiments.settings import CompareConfig, FinetuneConfig, ReportConfig, RunConfig
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from ddeep.reports import write_report
from ddeep.reports.comparison_figures import draw_into
from ddeep.results.comparison import save_comparison
from ddeep.results.run import save_run
from tests.reports.browser import open_page, opened
from tests.support.pictures import class_folders

LAYERS = ("layer2.2", "layer3.2")  # of comparisons: the second feeds the head

HOSTILE = (
    "<script>alert(1)<!--",
    "\"quoted' & <b>bold<!--",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "$\\frac{1}{0}$ _^",
    "🐈 שלום 猫",
    "&lt;i&gt; &#60;u&#62;",
    "very long " * 20,
    "' onmouseover='alert(2)",
)


def make_run(out: Path, **settings: object) -> Path:
    """A run directory."""
    save_run(run(RunConfig.model_validate(settings)), out)
    return out


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ddeep run --model resnet20 --strategy paper``."""
    return make_run(tmp_path_factory.mktemp("runs") / "digits", model="resnet20", strategy="paper")


@pytest.fixture(scope="session")
def digits_page(digits_run: Path) -> Path:
    """Its report."""
    return write_report(digits_run, ReportConfig()).page


@pytest.fixture(scope="session")
def finetuned_run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, fine-tuned a little."""
    run = shutil.copytree(digits_run, tmp_path_factory.mktemp("finetuned") / "digits")
    finetune(run, FinetuneConfig(epochs=1, batch_size=64, lr=1e-4))
    return run


@pytest.fixture(scope="session")
def finetuned_page(finetuned_run: Path) -> Path:
    """Its report."""
    return write_report(finetuned_run, ReportConfig(no_layers=True)).page


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ddeep compare`` of four strategies on the digits, at two layers; two strategies need the one at the head."""
    settings = CompareConfig(
        model="resnet20", strategies=("paper", "contribution", "random", "weight"), k=(2, 5), layers=LAYERS
    )
    document = run_comparison(settings)
    return save_comparison(
        document, tmp_path_factory.mktemp("compared") / "digits", lambda folder: draw_into(document, folder)
    )


@pytest.fixture(scope="session")
def comparison_page(comparison: Path) -> Path:
    """Its report."""
    return write_report(comparison, ReportConfig()).page


@pytest.fixture(scope="session")
def untrained() -> Callable[..., dict[str, object]]:
    """``untrained(folder, classes)``: the settings of a network that nobody has trained, its weights in ``folder``."""

    def made(folder: Path, classes: int) -> dict[str, object]:
        torch.manual_seed(0)
        network = resolve(registry().find("model", "resnet20").build)(classes)
        save_file(network.state_dict(), folder / "untrained.safetensors")
        pixels = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        weights = str(folder / "untrained.safetensors")
        return {"model": "resnet20", "weights": weights, **pixels, "strategy": "paper", "k": 3}

    return made


@pytest.fixture(scope="session")
def folder_run(
    tmp_path_factory: pytest.TempPathFactory, untrained: Callable[..., dict[str, object]]
) -> Callable[..., Path]:
    """``folder_run(names)``: a run on class folders of these names, with an untrained network."""

    def made(names: tuple[str, ...], train: int = 4, test: int = 3, **more: object) -> Path:
        root = tmp_path_factory.mktemp("folders")
        class_folders(root / "data" / "train", dict.fromkeys(names, train))
        class_folders(root / "data" / "test", dict.fromkeys(names, test))
        settings = {**untrained(root, len(names)), **more}
        return make_run(root / "run", dataset="folder", data_dir=root / "data", **settings)

    return made


@pytest.fixture(scope="session")
def hostile_run(folder_run: Callable[..., Path]) -> Path:
    """A run whose class names are markup, templates, mathematics, emoji and very long."""
    return folder_run(HOSTILE)


@pytest.fixture(scope="session")
def thousand_page(folder_run: Callable[..., Path]) -> Path:
    """The report of a run on a thousand classes."""
    run = folder_run(tuple(f"class number {c:04}" for c in range(1000)), train=1, test=1, no_refit=True)
    return write_report(run, ReportConfig(no_layers=True)).page


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests that need one; each opens its own page."""
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(browser: Any, digits_page: Path) -> Any:
    """The page of the digits, opened anew."""
    open_page(browser, digits_page)
    return browser
