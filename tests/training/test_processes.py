"""Training by several real processes: every image once an epoch, the global batch of one process, the same end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ddeep.cli import main
from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.training.loop import train
from ddeep.training.recipe import Recipe
from tests.support.helpers import Outcome
from tests.support.paths import ROOT
from tests.support.ranks import ranks

IMAGES, BATCH, EPOCHS = 61, 12, 3  # five whole batches, one image left out of each epoch


class Noting(nn.Module):
    """Notes the images it is shown in training. No batch norm: the parts' mean gradient is that of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16, 3)
        self.seen: list[list[int]] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append((images[:, 0, 0, 0] * 255).round().long().tolist())
        return self.head(images.flatten(1))


class Failing(Noting):
    """On rank 1."""

    def forward(self, images: Tensor) -> Tensor:
        if os.environ["RANK"] == "1":
            raise ValueError("rank 1 cannot go on")
        return super().forward(images)


def train_noting(out: Path, network: type[Noting] = Noting) -> int:
    """One process's part: it writes what it has seen and, as rank 0, the head."""
    torch.manual_seed(0)
    module = network()
    tags = torch.arange(IMAGES, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3)
    images = TensorImages.of(tags, torch.arange(IMAGES) % 3, ["a", "b", "c"])
    recipe = Recipe(epochs=EPOCHS, lr=0.1, batch_size=BATCH, crop_padding=0, flip=False)
    train(module, images, Preprocessing((0.0,) * 3, (1.0,) * 3, 4, 4), recipe, device="cpu")
    rank = int(os.environ.get("RANK", 0))
    (out / f"seen-{rank}.json").write_text(json.dumps(module.seen))
    if rank == 0:
        save_file(module.head.state_dict(), out / "head.safetensors")
    return 0


def test_each_image_once_an_epoch_in_the_same_global_batches(tmp_path: Path) -> None:
    steps: dict[int, list[list[int]]] = {}
    for processes in (1, 2, 3):
        out = tmp_path / str(processes)
        done = ranks(processes, partial(train_noting, out), out)
        assert done.status == 0, done.err
        parts = [json.loads((out / f"seen-{rank}.json").read_text()) for rank in range(processes)]
        assert {len(part) for own in parts for part in own} == {BATCH // processes}
        steps[processes] = [sorted(index for own in step for index in own) for step in zip(*parts, strict=True)]
    per_epoch = IMAGES // BATCH
    assert len(steps[1]) == EPOCHS * per_epoch
    assert steps[1] == steps[2] == steps[3]
    for epoch in range(EPOCHS):
        seen = [index for step in steps[1][epoch * per_epoch : (epoch + 1) * per_epoch] for index in step]
        assert len(seen) == len(set(seen)) == per_epoch * BATCH
    one, *others = (load_file(tmp_path / str(processes) / "head.safetensors") for processes in (1, 2, 3))
    for other in others:
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_process_that_fails_ends_the_others_with_its_error(tmp_path: Path) -> None:
    """Under torchrun, which is what ends them."""
    words = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "tests.training.test_processes", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,  # most of it start-up
        cwd=ROOT,
    )
    assert done.returncode != 0
    assert "ValueError: rank 1 cannot go on" in done.stderr
    assert not (tmp_path / "head.safetensors").exists()


def test_two_processes_finetune_as_well_as_one_on_the_digits(
    tmp_path: Path, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the decomposed head and through the dense one; the batch norms of two processes see half batches each."""
    run = ["run", "--model", "resnet20", "--strategy", "paper", "--device", "cpu", "--no-refit"]
    assert cli_here(*run, "--out", "run").status == 0
    dense = ["--dense", "--model", "resnet20", "--dataset", "digits"]
    for name, own in (("decomposed", ["run"]), ("dense", dense)):
        found = []
        for processes in (1, 2):
            out = tmp_path / f"{name}-{processes}"
            words = ["finetune", *own, "--epochs", "1", "--batch-size", "128", "--device", "cpu", "--out", str(out)]
            monkeypatch.setattr(sys, "argv", ["ddeep", *words])
            done = ranks(processes, main, tmp_path / f"{name}-{processes}-said")
            assert done.status == 0, done.err
            document = json.loads((out / "run.json").read_text())
            assert not (document["finetune"] if name == "decomposed" else document)["recipe"]["flip"]  # digits
            found.append(document["accuracy"]["finetuned" if name == "decomposed" else "test"])
        one, two = found
        assert one > 95, name
        assert two == pytest.approx(one, abs=0.5), name


if __name__ == "__main__":
    train_noting(Path(sys.argv[1]), Failing)
