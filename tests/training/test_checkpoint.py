"""Training that is stopped goes on as if it had not been; what it goes on from is whole."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ddeep.errors import CacheError, ConfigError, TrainingError, TrainingStopped
from ddeep.training.checkpoint import Checkpoint
from ddeep.training.history import EpochRow
from ddeep.training.loop import Progress, train
from tests.support.small_training import PREPROCESSING, RECIPE, coloured, network, same, weights


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "lr": 0.01}, {"ema": 0.9}, {"accumulate": 2}])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5, 6])
def test_a_stopped_run_resumes_bit_for_bit(changes: dict[str, Any], stop_at: int, tmp_path: Path) -> None:
    recipe = replace(RECIPE, **changes)
    straight = network()
    expected = train(straight, coloured(), PREPROCESSING, recipe, seed=1)

    stopped, checkpoint = network(), tmp_path / "checkpoint.safetensors"

    def interrupt(progress: Progress) -> None:
        if (progress.epoch - 1) * progress.steps + progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingStopped, match=r"checkpoint\.safetensors"):
        train(stopped, coloured(), PREPROCESSING, recipe, seed=1, checkpoint=checkpoint, on_step=interrupt)
    resumed = network(seed=7)
    history = train(resumed, coloured(), PREPROCESSING, recipe, seed=1, checkpoint=checkpoint, resume=True)
    assert same(weights(resumed), weights(straight))
    for ours, theirs in zip(history.rows, expected.rows, strict=True):
        assert replace(ours, seconds=0.0, images_per_second=0.0) == replace(theirs, seconds=0.0, images_per_second=0.0)


def test_ctrl_c_without_a_checkpoint_interrupts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(network(), coloured(), PREPROCESSING, RECIPE, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    train(network(), coloured(), PREPROCESSING, RECIPE, seed=1, checkpoint=checkpoint)
    other = replace(RECIPE, lr=0.1)
    with pytest.raises(ConfigError, match=r"recipe\.lr was '0\.2', now it is '0\.1'"):
        train(network(), coloured(), PREPROCESSING, other, seed=1, checkpoint=checkpoint, resume=True)
    with pytest.raises(ConfigError, match="seed"):
        train(network(), coloured(), PREPROCESSING, RECIPE, seed=2, checkpoint=checkpoint, resume=True)
    with pytest.raises(ConfigError, match="dataset"):
        train(network(), coloured(32), PREPROCESSING, RECIPE, seed=1, checkpoint=checkpoint, resume=True)


def test_a_missing_or_damaged_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    missing, damaged = tmp_path / "no.safetensors", tmp_path / "bad.safetensors"
    with pytest.raises(CacheError, match="no checkpoint"):
        train(network(), coloured(), PREPROCESSING, RECIPE, checkpoint=missing, resume=True)
    damaged.write_bytes(b"\x00" * 50)
    with pytest.raises(CacheError, match="cannot be read"):
        train(network(), coloured(), PREPROCESSING, RECIPE, checkpoint=damaged, resume=True)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    good: list[bytes] = []
    broken = {"after": 2}

    class Fragile(nn.Module):
        """Gives infinite logits in its third epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(x)
            return out * torch.inf if len(good) == broken["after"] else out

    with pytest.raises(TrainingError, match=r"epoch 3, step 1.*c\.safetensors"):
        train(
            Fragile(),
            coloured(),
            PREPROCESSING,
            RECIPE,
            checkpoint=checkpoint,
            on_epoch=lambda _: good.append(checkpoint.read_bytes()),
        )
    assert len(good) == 2
    assert checkpoint.read_bytes() == good[-1]
    assert Checkpoint.read(checkpoint).facts["epoch"] == 2
    broken["after"] = 99
    resumed = train(Fragile(), coloured(), PREPROCESSING, RECIPE, checkpoint=checkpoint, resume=True)
    assert len(resumed.rows) == 3


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    module = network()

    def poison(progress: Progress) -> None:
        if progress.epoch == 2 and progress.step == progress.steps:
            module[7].weight.data.fill_(torch.nan)

    with pytest.raises(TrainingError, match="no longer finite"):
        train(module, coloured(), PREPROCESSING, RECIPE, checkpoint=checkpoint, on_step=poison)
    assert Checkpoint.read(checkpoint).facts["epoch"] == 1


def test_a_full_disk_is_a_clear_error_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[:100])
        raise OSError(28, "No space left on device")

    def fill_up(row: EpochRow) -> None:
        if row.epoch == 1:
            monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(CacheError, match=r"c\.safetensors.*No space left"):
        train(network(), coloured(), PREPROCESSING, RECIPE, checkpoint=checkpoint, on_epoch=fill_up)
    assert Checkpoint.read(checkpoint).facts["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
