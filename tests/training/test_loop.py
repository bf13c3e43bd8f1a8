"""The training loop: it learns, and repeats as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn
from torch.nn import functional as F

from ddeep.errors import ConfigError
from ddeep.experiments.settings import FinetuneConfig, TrainConfig
from ddeep.networks.layer import Layer
from ddeep.training.batches import Shuffled
from ddeep.training.history import EpochRow, History
from ddeep.training.loop import train
from ddeep.training.recipe import FINE_TUNE, FROM_SCRATCH
from ddeep.training.regularizers import Regularizer
from tests.support.small_training import PREPROCESSING, RECIPE, coloured, network, same, weights


def test_learns_and_ends_in_eval_mode() -> None:
    module, images = network(), coloured(256)
    history = train(module, images, PREPROCESSING, replace(RECIPE, epochs=8))
    assert not module.training
    assert [row.epoch for row in history.rows] == list(range(1, 9))
    assert history.rows[-1].loss < history.rows[0].loss
    accuracy = (module(PREPROCESSING.normalise(images.pixels)).argmax(1) == images.labels).float().mean()
    assert accuracy > 0.95


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_equals_a_plain_loop(optimizer: str) -> None:
    """The reference: torch's own optimizers and nothing else, on the same batches."""
    recipe = replace(
        FROM_SCRATCH, epochs=2, lr=0.05, batch_size=16, optimizer=optimizer, crop_padding=1, label_smoothing=0.1
    )
    images, module, reference = coloured(), network(), network()
    for each in (module, reference):
        each[6].p = 0.0
    train(module, images, PREPROCESSING, recipe, seed=5)

    reference.train()
    decayed = [p for p in reference.parameters() if p.ndim > 1]
    spared = [p for p in reference.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 5e-4}, {"params": spared}]
    stepper: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
        if optimizer == "sgd"
        else torch.optim.Adam(groups, lr=0.05)
    )
    data = Shuffled(images, PREPROCESSING, recipe, 5, torch.device("cpu"))
    for epoch in range(2):
        for step, ((batch, labels),) in enumerate(data.epoch(epoch)):
            for group in stepper.param_groups:
                group["lr"] = recipe.learning_rate((epoch * data.steps + step) / (2 * data.steps))
            stepper.zero_grad()
            F.cross_entropy(reference(batch), labels, label_smoothing=0.1).backward()
            stepper.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_accumulating_gradients_changes_nothing_but_rounding() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    parted = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    parted.load_state_dict(plain.state_dict())
    whole = train(plain, coloured(), PREPROCESSING, RECIPE, seed=2)
    parts = train(parted, coloured(), PREPROCESSING, replace(RECIPE, accumulate=4), seed=2)
    torch.testing.assert_close(parted[1].weight, plain[1].weight, rtol=1e-4, atol=1e-6)
    assert [row.loss for row in parts.rows] == pytest.approx([row.loss for row in whole.rows], rel=1e-5)


def test_a_seed_makes_two_runs_identical_and_leaves_the_callers_random_numbers_alone() -> None:
    runs = []
    for seed in (4, 4, 5):
        module = network()
        torch.manual_seed(99)
        history = train(module, coloured(), PREPROCESSING, RECIPE, seed=seed)
        assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(99)).item()
        runs.append((weights(module), [(row.loss, row.accuracy) for row in history.rows]))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


def test_the_moving_average_is_what_training_returns() -> None:
    module, reference = network(), network()
    for each in (module, reference):
        each[6].p = 0.0
    recipe = replace(RECIPE, epochs=2, ema=0.5)
    seen: list[dict[str, torch.Tensor]] = []
    train(
        reference,
        coloured(),
        PREPROCESSING,
        replace(recipe, ema=0.0),
        on_step=lambda _: seen.append(weights(reference)),
    )
    train(module, coloured(), PREPROCESSING, recipe)
    for name in ("7.weight", "1.running_var"):
        average = seen[0][name]
        for taken, step in enumerate(seen[1:], start=1):
            share = max(0.5, 4 / (taken + 4))
            average = (1 - share) * average + share * step[name]
        assert len(seen) > 6  # both parts: the growing average, then the moving one
        torch.testing.assert_close(module.state_dict()[name], average)


def test_bf16_trains_too_and_nothing_is_left_on_the_module() -> None:
    module = network()
    before = set(vars(module))
    history = train(module, coloured(256), PREPROCESSING, replace(RECIPE, epochs=6, precision="bf16"))
    assert history.rows[-1].accuracy > 80
    assert set(vars(module)) == before
    assert module[7].weight.dtype == torch.float32
    fp32 = network()
    train(fp32, coloured(), PREPROCESSING, RECIPE)  # another precision in the same process


def test_a_tracker_gets_every_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(network(), coloured(), PREPROCESSING, RECIPE, checkpoint=tmp_path / "c.safetensors", tracker="tensorboard")
    events = EventAccumulator(str(tmp_path / "ddeep")).Reload()
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3]


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_dataset_says_whether_images_are_mirrored_unless_told(pretrained: bool) -> None:
    given = {"model": "toy", "dataset": "toys", "pretrained": pretrained}
    assert [TrainConfig(**given).training_recipe(flip=own).flip for own in (True, False)] == [True, False]
    assert [TrainConfig(**given, flip=told).training_recipe(flip=not told).flip for told in (True, False)] == [
        True,
        False,
    ]
    assert not FinetuneConfig().finetune_recipe(flip=False).flip
    assert FinetuneConfig(flip=True).finetune_recipe(flip=False).flip


def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="fp16"):
        train(network(), coloured(), PREPROCESSING, replace(RECIPE, precision="fp16"), device="cpu")


def test_history_counts_what_evaluate_gives() -> None:
    calls: list[bool] = []

    def evaluate(module: nn.Module) -> float:
        calls.append(module.training)
        return 12.5

    history = train(network(), coloured(), PREPROCESSING, RECIPE, evaluate=evaluate)
    assert calls == [False] * 3
    assert [row.test_accuracy for row in history.rows] == [12.5] * 3
    unjudged = train(network(), coloured(), PREPROCESSING, RECIPE)
    assert [row.loss for row in unjudged.rows] == [row.loss for row in history.rows]


def test_a_regularizer_takes_responses_with_gradients_and_its_parameters_learn() -> None:
    class Pull(nn.Module):
        """Pulls the mean response towards a learned number."""

        def __init__(self) -> None:
            super().__init__()
            self.goal = nn.Parameter(torch.tensor(5.0))
            self.shapes: set[tuple[int, ...]] = set()

        def forward(self, responses: Any, labels: torch.Tensor) -> torch.Tensor:
            self.shapes.add(tuple(responses["0"].shape))
            assert len(labels) == len(responses["0"])
            return 0.1 * (responses["0"].mean() - self.goal).square()

    pull, module = Pull(), network()
    history = train(module, coloured(), PREPROCESSING, RECIPE, regularizer=Regularizer("pull", pull, [Layer("0")]))
    assert pull.shapes == {(16, 8)}
    assert pull.goal.item() != 5.0
    penalties = [row.penalty for row in history.rows]
    assert None not in penalties
    assert penalties[-1] < penalties[0]  # type: ignore[operator]
    assert all(not m._forward_hooks for m in module.modules())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": 0.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"optimizer": "lbfgs"}, "optimizer"),
        ({"schedule": "steps"}, "schedule"),
        ({"precision": "fp8"}, "precision"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"ema": 1.0}, "ema"),
        ({"crop_padding": -1}, "crop_padding"),
    ],
)
def test_bad_recipes_name_the_setting(changes: dict[str, Any], named: str) -> None:
    # Where these tests check annotations, a word that is not among a setting's is caught before the recipe sees it.
    with pytest.raises((ConfigError, TypeCheckError), match=named):
        replace(RECIPE, **changes)


def test_schedules_rise_and_fall_as_they_say() -> None:
    rates = [FROM_SCRATCH.learning_rate(i / 1000) for i in range(1000)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(FROM_SCRATCH.lr)
    assert peak == 300
    assert rates[:301] == sorted(rates[:301])
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert rates[-1] < 1e-4 * FROM_SCRATCH.lr
    cosine = replace(FROM_SCRATCH, schedule="cosine")
    assert cosine.learning_rate(0.5) == pytest.approx(FROM_SCRATCH.lr / 2)
    assert {FINE_TUNE.learning_rate(i / 10) for i in range(10)} == {2e-4}


def test_history_is_written_as_csv(tmp_path: Path) -> None:
    rows = [EpochRow(epoch, 1 / epoch, 50.0 + epoch, 1.5, 100.0, 0.1, None, 40.0) for epoch in (1, 2)]
    history = History(rows)
    history.write_csv(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,loss,accuracy,seconds")
    assert lines[2].split(",")[:3] == ["2", "0.5", "52.0"]
    assert History.from_json(history.to_json()) == history
    assert history.seconds == 3.0
