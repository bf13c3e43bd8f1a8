"""``ddeep train`` from the outside: its run directory, kill -9 and --resume, Ctrl-C, several processes, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from ddeep.experiments import train
from ddeep.registry.specs import resolve
from ddeep_plugins_builtin.models import ddeep_models
from tests.support.documents import read_document
from tests.support.helpers import Outcome
from tests.support.waiting import PATIENCE, until

Cli = Callable[..., Outcome]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder dataset: 60 + 12 small noisy images of three colours."""
    source = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("test", 4)):
        for label, colour in enumerate(("blue", "green", "red")):
            folder = tmp_path / "images" / split / colour
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 128, (16, 16, 3), dtype=torch.uint8, generator=source)
                pixels[:, :, 2 - label] += 100
                Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return tmp_path / "images"


def options(images: Path, epochs: int = 3) -> list[str]:
    return [
        *("--model", "resnet20", "--dataset", "folder", "--data-dir", str(images)),
        *("--epochs", str(epochs), "--batch-size", "20", "--lr", "0.1", "--device", "cpu"),
    ]


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ddeep", "train", *args],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until(lambda: path.exists() or process.poll() is not None, f"{path} did not appear")
    assert path.exists(), process.communicate()


def test_a_run_directory_holds_all_there_is_to_know(images: Path, tmp_path: Path, cli_here: Cli) -> None:
    out = tmp_path / "run"
    done = cli_here("train", *options(images), "--out", str(out), "--json")
    assert done.status == 0, done.err
    document = done.json
    assert document == read_document(out / "run.json")
    assert document["schema"] == "ddeep.train/1"
    assert document["status"] == "finished"
    assert document["classes"] == ["blue", "green", "red"]
    assert len(document["epochs"]) == document["recipe"]["epochs"] == 3
    assert document["preprocessing"]["size"] == 16
    assert sorted(path.name for path in out.iterdir()) == [
        "curve.pdf",
        "curve.png",
        "curve.svg",
        "history.csv",
        "model.safetensors",
        "run.json",
    ]
    assert len((out / "history.csv").read_text().splitlines()) == 4

    spec = next(spec for spec in ddeep_models() if spec.name == "resnet20")
    model = resolve(spec.build)(3)
    model.load_state_dict(load_file(out / "model.safetensors"), strict=True)
    with safe_open(out / "model.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["ddeep"])
    assert facts["preprocessing"] == document["preprocessing"]
    assert facts["classes"] == document["classes"]


@pytest.mark.parametrize("more", [[], ["--regularizer", "leavitt", "--alpha", "-1", "--layers", "*relu*"]])
def test_killed_at_any_moment_a_run_resumes_to_the_same_file(images: Path, more: list[str], tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    whole = start(tmp_path, *options(images, 8), *more, "--out", str(straight))
    victim = start(tmp_path, *options(images, 8), *more, "--out", str(killed))
    wait_for(killed / "checkpoint.safetensors", victim)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not (killed / "model.safetensors").exists()
    assert read_document(killed / "run.json")["status"] == "running"
    resumed = start(tmp_path, "--resume", str(killed))
    assert resumed.wait(PATIENCE) == 0, resumed.communicate()
    assert whole.wait(PATIENCE) == 0, whole.communicate()
    for process in (whole, resumed):
        process.communicate()
    one, other = load_file(killed / "model.safetensors"), load_file(straight / "model.safetensors")
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []
    assert (killed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert not (killed / "checkpoint.safetensors").exists()
    again = start(tmp_path, "--resume", str(killed))
    _, err = again.communicate()
    assert again.returncode == 1
    assert "nothing to resume" in err


@pytest.mark.parametrize("left", ["a document", "half a file"])
def test_a_run_killed_before_its_first_checkpoint_starts_again_in_its_folder(
    left: str, images: Path, tmp_path: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is sent to the other: --resume where there is a document, else the same command again."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ("train", *options(images), "--out", str(tmp_path / "run"))
    if left == "a document":
        with monkeypatch.context() as patch:
            patch.setattr(train, "train", killed)
            assert cli_here(*words).status == 130
        assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
        words = ("train", "--resume", str(tmp_path / "run"))
    else:
        (tmp_path / "run" / ".ddeep-0123456789ab.tmp" / "inside").mkdir(parents=True)
    done = cli_here(*words)
    assert done.status == 0, done.err
    assert ("training begins anew" in done.err) == (left == "a document")
    assert read_document(tmp_path / "run" / "run.json")["status"] == "finished"
    assert not list((tmp_path / "run").glob(".ddeep-*"))


def test_a_damaged_checkpoint_names_the_way_out(images: Path, tmp_path: Path, cli_here: Cli) -> None:
    words = ("train", *options(images), "--out", str(tmp_path / "run"))
    assert cli_here(*words).status == 0
    document = read_document(tmp_path / "run" / "run.json")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**document, "status": "running"}))
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"half")
    resume = ("train", "--resume", str(tmp_path / "run"), "--data-dir", str(images))
    refused = cli_here(*resume)
    assert refused.status == 1
    assert "Remove it, and --resume begins anew" in refused.err
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    assert cli_here(*resume).status == 0


def test_ctrl_c_saves_and_says_how_to_resume(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tmp_path, *options(images, 200), "--out", str(out))
    wait_for(out / "checkpoint.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"ddeep train --resume {out}" in err
    assert "Traceback" not in err
    assert (out / "checkpoint.safetensors").exists()


def test_two_processes_train_one_model(images: Path, tmp_path: Path) -> None:
    """torchrun's environment, by hand: two processes on the CPU end with one run directory."""
    out = tmp_path / "run"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20_000 + os.getpid() % 20_000),
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, "-m", "ddeep", "train", *options(images, 2), "--out", str(out)]
    processes = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    document = read_document(out / "run.json")
    assert document["status"] == "finished"
    assert document["processes"] == 2
    assert len(document["epochs"]) == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["--model", "resnet21"], "resnet20"),
        (["--dataset", "cifar11"], "cifar10"),
        (["--precision", "fp7"], "precision"),
        (["--lr", "-1"], "lr"),
        (["--epochs", "0"], "epochs"),
        (["--regularizer", "nothing"], "nothing"),
        (["--device", "cuda"], "cuda"),
        (["--batch-size", "20", "--accumulate", "3"], "multiple of 3"),
        (["--tracker", "wandb"], "wandb"),
    ],
)
def test_bad_input_is_one_line(changes: list[str], named: str, images: Path, tmp_path: Path, cli_here: Cli) -> None:
    if named == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = cli_here("train", *options(images), "--out", str(tmp_path / "run"), *changes)
    assert done.status == 1
    assert named in done.err
    assert "Traceback" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error")]) == 1


def test_results_are_never_overwritten(images: Path, tmp_path: Path, cli_here: Cli) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "precious.txt").write_text("keep")
    done = cli_here("train", *options(images), "--out", str(out))
    assert done.status == 1
    assert "already exists" in done.err
    assert (out / "precious.txt").read_text() == "keep"


def test_resume_takes_no_other_settings(tmp_path: Path, cli_here: Cli) -> None:
    done = cli_here("train", "--resume", str(tmp_path), "--lr", "0.5")
    assert done.status == 1
    assert "lr" in done.err
    missing = cli_here("train", "--resume", str(tmp_path))
    assert missing.status == 1
    assert "run.json" in missing.err


def test_mean_and_deviation_are_those_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (7, 5, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(train, "_AT_ONCE", 100)  # one image at a time
    shares = pixels.double().flatten(0, 2) / 255
    mean, std = train.mean_and_deviation(pixels)
    assert mean == tuple(round(value, 4) for value in shares.mean(0).tolist())
    assert std == tuple(round(value, 4) for value in shares.std(0).tolist())
