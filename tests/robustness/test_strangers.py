"""A stranger's run directory: no link out of it is followed, nothing is fetched for it, nothing large is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ddeep.errors import CacheError, DataError, DdeepError, WeightsError
from ddeep.experiments import train as training
from ddeep.experiments.finetune import finetune
from ddeep.experiments.run import run
from ddeep.experiments.settings import FinetuneConfig, ReportConfig, RunConfig, TrainConfig
from ddeep.files import downloads
from ddeep.files.sealed import DEFAULTS
from ddeep.reports import write_report
from ddeep.results.run import load, save_run
from tests.support.documents import read_document
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders

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


def images(folder: Path) -> Path:
    for split in ("train", "test"):
        class_folders(folder / split, {str(digit): 2 for digit in range(10)}, side=32)
    return folder


_watched: list[tuple[Path, set[str]]] = []  # folders, and what has been opened below them


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    for folder, found in _watched:
        if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(str(folder)):
            found.add(str(arguments[0]))


@contextmanager
def opened_under(folder: Path) -> Iterator[set[str]]:
    """What the block opens below ``folder``."""
    if not _watched:
        sys.addaudithook(_note_opened)  # for good
    _watched[:] = [(folder, set())]
    yield _watched[0][1]
    _watched[:] = [(Path("/none"), set())]


ON_FILES = ("--dataset", "folder", "--model", "resnet20", "--weights", "resnet20-digits", "--device", "cpu")


def test_a_run_says_where_its_images_are_to_its_own_user_alone(
    tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images(tmp_path / "images")
    words = ("run", "--strategy", "weight", "--no-refit", *ON_FILES, "--data-dir", data)
    assert cli_here(*words, "--out", "run").status == 0
    own = cli_here("explain", "run", "test:1")
    assert own.status == 0
    assert "somebody else" not in own.err
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    with opened_under(data) as opened:
        for command in (("explain", "run", "test:1"), ("forget", "run", "--classes", "3"), ("finetune", "run")):
            refused = cli_here(*command, "--out", f"of-{command[0]}")
            assert refused.status == 1, command
            assert f"is not followed: data_dir {str(data)!r}. Its data is looked for in data" in refused.err
        assert cli_here("report", "run", "--no-layers").status == 0  # without images
        assert opened == set()
        named = cli_here("explain", "run", "test:1", "--data-dir", data)
        assert opened != set()  # else the watch could never fail
    said = [line for line in named.err.splitlines() if not line.startswith("Images: ")]
    assert (named.status, said) == (0, [])
    tuned = cli_here("finetune", "run", "--epochs", "1", "--data-dir", data, "--out", "tuned")
    assert tuned.status == 0, tuned.err
    assert cli_here("explain", "tuned", "test:1").status == 0  # which this user has made


def test_shards_from_elsewhere_are_merged_with_images_that_the_user_names(
    tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images(tmp_path / "images")
    for number in (1, 2):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"machine-{number}"))
        words = ("run", "--strategy", "weight", "--no-refit", *ON_FILES, "--data-dir", data)
        assert cli_here(*words, "--shard", f"{number}/2", "--out", f"shard-{number}").status == 0
    refused = cli_here("merge", "shard-1", "shard-2", "--out", "run")
    assert refused.status == 1
    assert f"data_dir {str(data)!r}. Its data is looked for in data" in refused.err
    assert cli_here("merge", "shard-1", "shard-2", "--data-dir", data, "--out", "run").status == 0


def test_training_of_others_starts_no_tracker(tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(tmp_path / "images")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", stop)
        words = ("train", "--model", "resnet20", "--epochs", "1", "--dataset", "folder", "--data-dir", data)
        assert cli_here(*words, "--device", "cpu", "--tracker", "wandb", "--out", "out").status == 130
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    refused = cli_here("train", "--resume", "out")
    assert refused.status == 1
    assert f"is not followed: data_dir {str(data)!r}, tracker 'wandb'" in refused.err
    going_on = cli_here("train", "--resume", "out", "--data-dir", data)
    assert going_on.status == 0, going_on.err
    assert "tracker 'wandb'" in going_on.err


def test_the_places_that_are_left_are_the_settings_defaults() -> None:
    for name, default in DEFAULTS.items():
        assert str(TrainConfig.model_fields[name].default) == default


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
