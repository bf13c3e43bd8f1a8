"""A stranger's run directory: no link out of it is followed, nothing is fetched for it, nothing large is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.errors import CacheError, DataError, DdeepError, WeightsError
from ddeep.experiments.finetune import finetune
from ddeep.experiments.run import run
from ddeep.experiments.settings import FinetuneConfig, ReportConfig, RunConfig
from ddeep.files import downloads
from ddeep.reports import write_report
from ddeep.results.run import load, save_run
from tests.support.documents import read_document
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    save_run(run(RunConfig(model="resnet20", strategy="weight", no_refit=True, device="cpu")), folder)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def rename(run: Path, **changes: object) -> None:
    """As a stranger would: another document, which nobody vouches for."""
    document = read_document(run / "run.json")
    config = {**document["config"], **{name: value for name, value in changes.items() if name in document["config"]}}
    (run / "run.json").write_text(json.dumps({**document, **changes, "config": config}))


def test_a_report_is_not_written_through_a_link(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (copied / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="figures is a link, and nothing is written through it"):
        write_report(copied, ReportConfig(no_layers=True))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_explanations_are_not_written_through_a_link(copied: Path, tmp_path: Path, cli_here: Cli) -> None:
    (tmp_path / "elsewhere").mkdir()
    (copied / "explanations").symlink_to(tmp_path / "elsewhere")
    refused = cli_here("explain", copied, "test:1")
    assert refused.status == 1
    assert "explanations is a link" in refused.err
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["run.json", "selection.json", "metrics.json", "model.safetensors"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_file_that_is_a_link_out_of_it_is_refused(name: str, sealed: bool, copied: Path, tmp_path: Path) -> None:
    if not sealed:
        rename(copied)
    (copied / name).rename(tmp_path / "secret")
    (copied / name).symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=f"{name} is a link out of"):
        load(copied)


def test_a_link_inside_a_run_is_followed(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "weights.safetensors")
    (copied / "model.safetensors").symlink_to("weights.safetensors")
    assert not load(copied).training


@pytest.mark.parametrize("command", ["report", "explain", "finetune"])
def test_nothing_is_fetched_for_what_a_run_names(
    command: str, copied: Path, tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("it went online")

    monkeypatch.delenv("DDEEP_OFFLINE", raising=False)
    monkeypatch.setattr(downloads.urllib.request.OpenerDirector, "open", fetched)
    rename(copied, dataset="cifar10", data_dir=str(tmp_path / "victim"))
    words = {"report": (), "explain": ("test:1",), "finetune": ("--out", tmp_path / "out")}[command]
    done = cli_here(command, copied, *words)
    assert done.status == (0 if command == "report" else 1)
    assert "what a file names is not fetched" in done.err
    assert not (tmp_path / "victim").exists()


GIANT = """
import resource, sys
from ddeep.errors import WeightsError
from ddeep.results.run import load
import timm, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1])
except WeightsError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_giant_network_is_not_built_for_small_weights(copied: Path) -> None:
    """Two thousand megabytes for a name in a file of some kilobytes."""
    rename(copied, model="timm/convnext_xlarge", head="linear")
    done = subprocess.run([sys.executable, "-c", GIANT, copied], capture_output=True, text=True, check=True)
    said, megabytes = done.stdout.splitlines()
    assert "made for another network than ConvNeXt" in said
    assert int(megabytes) < 200


def test_its_weights_must_fit(copied: Path) -> None:
    rename(copied, model="resnet32")
    with pytest.raises(WeightsError, match="made for another network"):
        load(copied)
    with pytest.raises(DdeepError):
        finetune(copied, FinetuneConfig(epochs=1))
