"""The disk is full at the first write of a command, at the second, …: one line each time, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ddeep.reports import comparison_figures
from ddeep.reports import plots as run_figures
from ddeep.results.verify import verify
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders

RESNET = ("--model", "resnet20", "--weights", "resnet20-digits", "--device", "cpu", "--dataset", "folder")
COMMANDS = {
    "run": ("run", "--strategy", "weight", *RESNET, "--out", "out"),
    "run --shard": ("run", "--strategy", "weight", *RESNET, "--shard", "1/1", "--out", "out"),
    "compare": ("compare", "--strategies", "weight", "--k", "2", "--no-refit", *RESNET, "--out", "out"),
    "measure": ("measure", "--metrics", "psi", *RESNET, "--out", "out"),
    "train": ("train", "--epochs", "1", *RESNET[:2], *RESNET[4:], "--out", "out"),
    "finetune": ("finetune", "run", "--epochs", "1", "--out", "out"),
    "report": ("report", "run", "--no-layers", "--out", "out/report.html"),
    "plugins new": ("plugins", "new", "ddeep-mine"),
}
MOST_WRITES = 60
MARKS = (("CACHEDIR.TAG",), (".ddeep-cache",))  # of a cache


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, and a run on them for the commands that start from one."""
    from ddeep.experiments.run import run
    from ddeep.experiments.settings import RunConfig
    from ddeep.results.run import save_run

    folder = tmp_path_factory.mktemp("prepared")
    for split in ("train", "test"):
        class_folders(folder / "data" / split, {str(digit): 2 for digit in range(10)}, side=32)
    settings = {"model": "resnet20", "weights": "resnet20-digits", "dataset": "folder", "strategy": "weight"}
    save_run(run(RunConfig(**settings, data_dir=folder / "data", device="cpu", no_refit=True)), folder / "run")
    return folder


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the figures that a command draws only the first is: they are written alike, and every write runs it anew."""
    for module, name in ((comparison_figures, "draw"), (run_figures, "run_plots")):
        really = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, really=really: list(really(*given))[:1])


@contextmanager
def disk_full_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The ``number``-th file or folder does not get its final name; the list tells which were to get theirs."""
    tried: list[Path] = []
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        tried.append(Path(target))
        if len(tried) == number:
            raise OSError(28, "No space left on device")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield tried


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_at_every_write(
    name: str,
    prepared: Path,
    tmp_path: Path,
    cli_here: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data").symlink_to(prepared / "data")
    shutil.copytree(prepared / "run", tmp_path / "run")
    for number in range(1, MOST_WRITES):
        if name != "report":  # which does without images that do not fit into the cache
            monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / f"cache-{number}"))  # what is cached is not written again
        with disk_full_at(number, monkeypatch) as tried:
            outcome = cli_here(*COMMANDS[name])
        if len(tried) < number:
            assert outcome.status == 0, outcome.err
            break
        if outcome.status == 0:  # a hash of files was not kept, or the mark of the cache that was to hold it
            kept = tried[number - 1].relative_to(os.environ["DDEEP_CACHE"]).parts
            assert kept[0] == "contents" or kept in MARKS, kept
            assert (tmp_path / "out").exists(), f"write {number}: nothing was made"
            if name != "report":
                assert [verdict.problem for verdict in verify(tmp_path / "out") if verdict.problem] == []
        else:
            assert outcome.status == 1, f"write {number}: {outcome.err}"
            news = ("warning: ", "epoch ", "Images: ")
            lines = [line for line in outcome.err.splitlines() if not line.startswith(news)]
            assert len(lines) == 1, f"write {number}: {outcome.err}"
            assert lines[0].startswith("error: Cannot write"), f"write {number}"
        assert not list(tmp_path.rglob(".ddeep-*.tmp")), f"write {number}"
        for path in tmp_path.rglob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    else:
        raise AssertionError(f"more than {MOST_WRITES} writes")
    assert number > 1
