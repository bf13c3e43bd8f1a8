"""One loop, for training from scratch and for fine-tuning.

Batches, augmentation and the random numbers of every step follow from seed, epoch and step alone, so a run that was
stopped anywhere goes on exactly as if it had not been: bit for bit on the CPU in fp32.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..data.images import Images
from ..data.loaded import LoadedImages
from ..data.preprocessing import Preprocessing
from ..errors import CacheError, ConfigError, TrainingError, TrainingStopped
from ..interrupts import Interruption, interruption
from .accelerator import make_accelerator
from .batches import Part, Shuffled, generator
from .checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from .given import Given
from .history import EpochRow, History
from .layout import lay_out, plain_inputs
from .objective import FIGURES, Objective, Teacher
from .optimizers import make_moving_average, make_optimizer
from .recipe import Recipe, Tracker
from .regularizers import Regularizer

CHECKPOINT_EVERY = 600.0  # seconds; and after every epoch
_LOOK_EVERY = 10  # steps between looks at figures that live on another device or in other processes


@dataclass(frozen=True)
class Progress:
    """Where a run is: epoch and step from 1; mean loss, accuracy (percent) and speed of the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


def train(
    module: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    regularizer: Regularizer | None = None,
    teacher: Teacher | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    facts: Mapping[str, Any] | None = None,
    tracker: Tracker = "none",
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> History:
    """Train ``module`` in place by ``recipe`` and return its history. The module ends on the CPU, in eval mode.

    The last epoch of the recipe counts: no epoch is ever chosen. With a ``teacher``, which gives logits for a batch on
    its own device, those are learned in place of the labels. ``evaluate`` gives the percent that each row carries as
    ``test_accuracy``; the run does not depend on it. ``checkpoint`` is a file, replaced after every epoch and every
    ten minutes; with ``resume`` the run goes on from it. ``facts`` (JSON-ready) are kept in it and must be the same
    when resuming.

    Raises TrainingError when the loss is no longer finite (the checkpoint is the last good one), TrainingStopped after
    Ctrl-C once the checkpoint is saved, ConfigError where the checkpoint belongs to another run.
    """
    accelerator = make_accelerator(recipe, device, tracker, checkpoint.parent if checkpoint else None)
    place = (accelerator.device, accelerator.process_index, accelerator.num_processes)
    data: Shuffled | Given
    if isinstance(images, LoadedImages):
        data = Given(images, recipe, seed, *place)
    else:
        data = Shuffled(images, preprocessing, recipe, seed, *place)
    identity = {
        "recipe": recipe.identity(),
        "seed": seed,
        "preprocessing": preprocessing.identity(),
        "dataset": images.content_hash,
        **(facts or {}),
    }
    objective = Objective(module.train(), recipe.label_smoothing, regularizer, teacher)
    run = _Run(accelerator, objective, data, identity, checkpoint)
    if resume:
        run.restore()
    if tracker != "none":
        accelerator.init_trackers("ddeep", config=_flat(identity))
    stops = interruption(checkpoint is not None)
    with objective, plain_inputs(objective), stops as interrupted, _own_random_numbers(accelerator.device):
        while run.epoch < recipe.epochs:
            run.train_epoch(interrupted, on_step)
            row = run.finish_epoch(evaluate)
            if on_epoch is not None and accelerator.is_main_process:
                on_epoch(row)
    accelerator.end_training()
    if run.average is not None:
        module.load_state_dict(run.average.module.state_dict())
    module.cpu().eval()
    return run.history


class _Run:
    """The state of a run: all that a checkpoint holds, and how to take one step, or one epoch, from there."""

    def __init__(
        self,
        accelerator: Accelerator,
        objective: Objective,
        data: Shuffled | Given,
        identity: Mapping[str, Any],
        checkpoint: Path | None,
    ) -> None:
        self.accelerator = accelerator
        self.data = data
        self.recipe = data.recipe
        self.identity = identity
        self.checkpoint = checkpoint
        self.objective = objective.to(accelerator.device)
        lay_out(objective)
        self.average = make_moving_average(objective.module, self.recipe.ema)
        self.optimizer = make_optimizer(objective, self.recipe)
        self.wrapped, self.prepared = accelerator.prepare(objective, self.optimizer)
        self.history = History()
        self.epoch = 0
        self.step = 0
        self.figures = torch.zeros(FIGURES, device=accelerator.device)
        self.seconds = 0.0
        self.saved = time.monotonic()

    def train_epoch(self, interrupted: Interruption, on_step: Callable[[Progress], None] | None) -> None:
        """Take the steps that are left of this epoch."""
        self.objective.train()
        look_every = _LOOK_EVERY if self.accelerator.num_processes > 1 or self.data.device.type != "cpu" else 1
        started = time.monotonic() - self.seconds
        for parts in self.data.epoch(self.epoch, self.step):
            self.take_step(parts)
            self.step += 1
            if self.step % look_every and self.step < self.data.steps:
                continue
            self.seconds = time.monotonic() - started
            loss, accuracy, _, stop = self.look(interrupted.requested)
            if on_step is not None and self.accelerator.is_main_process:
                on_step(self.progress(loss, accuracy))
            if stop:
                self.save()
                raise TrainingStopped(self.epoch + 1, self.recipe.epochs, self.checkpoint)
            if time.monotonic() - self.saved > CHECKPOINT_EVERY:
                self.save()

    def take_step(self, parts: list[Part]) -> None:
        """One optimizer step over the accumulated ``parts`` of a batch."""
        position = (self.data.seed, self.epoch, self.step, 1 + self.data.rank)
        torch.manual_seed(generator(*position).initial_seed())  # for dropout and the like
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        for images, labels in parts:
            with self.accelerator.accumulate(self.wrapped):
                loss, figures = self.wrapped(images, labels)
                self.accelerator.backward(loss)
                self.prepared.step()
                self.prepared.zero_grad()
            self.figures += figures
        if self.average is not None:
            self.average.update_parameters(self.objective.module)

    def learning_rate(self, step: int) -> float:
        """The rate of a step of this epoch."""
        return self.recipe.learning_rate((self.epoch + step / self.data.steps) / self.recipe.epochs)

    def look(self, stop: bool) -> tuple[float, float, float, bool]:
        """Mean loss, accuracy in percent, mean penalty; and whether any process is asked to stop."""
        flag = self.figures.new_tensor([float(stop)])
        summed: Tensor = self.accelerator.reduce(torch.cat([self.figures, flag]), "sum")
        loss, penalty, correct, count, stops = summed.tolist()
        if not torch.isfinite(summed).all():
            self.fail()
        return loss / count, 100 * correct / count, penalty / count, stops > 0

    def progress(self, loss: float, accuracy: float) -> Progress:
        """Where the run is."""
        epochs, steps = self.recipe.epochs, self.data.steps
        speed = self.step * self.data.batch_size / self.seconds
        left = ((epochs - self.epoch) * steps - self.step) * self.data.batch_size / speed
        return Progress(self.epoch + 1, epochs, self.step, steps, loss, accuracy, speed, left)

    def finish_epoch(self, evaluate: Callable[[nn.Module], float] | None) -> EpochRow:
        """Close the epoch with a row of history and a checkpoint."""
        loss, accuracy, penalty, _ = self.look(stop=False)
        judged = self.objective.module if self.average is None else self.average.module
        row = EpochRow(
            epoch=self.epoch + 1,
            loss=loss,
            accuracy=accuracy,
            seconds=self.seconds,
            images_per_second=self.data.steps * self.data.batch_size / self.seconds,
            learning_rate=self.learning_rate(self.data.steps - 1),  # the optimizer has none after a stop just here
            penalty=None if self.objective.term is None else penalty,
            test_accuracy=None if evaluate is None else evaluate(judged.eval()),
        )
        self.history.rows.append(row)
        self.accelerator.log({k: v for k, v in vars(row).items() if v is not None}, step=row.epoch)
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.figures.zero_()
        self.save()
        return row

    def save(self) -> None:
        """Replace the checkpoint, unless the last update left weights that are not finite."""
        self.saved = time.monotonic()
        if not all(p.isfinite().all() for p in self.objective.parameters()):
            self.fail()
        if self.checkpoint is None or not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        facts = {
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history.to_json(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        tensors = {
            "objective": self.objective.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "average": self.average.state_dict() if self.average is not None else {},
            "run": {"figures": self.figures},
        }
        Checkpoint(tensors, facts).write(self.checkpoint)

    def restore(self) -> None:
        """Go back to where the checkpoint was taken."""
        if self.checkpoint is None:
            raise ConfigError("There is nothing to resume from: no checkpoint was named.")
        saved = Checkpoint.read(self.checkpoint)
        try:
            _check_same_run(saved.facts["identity"], self.identity, self.checkpoint)
            self._take_over(saved)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise CacheError(
                f"The checkpoint {self.checkpoint} is damaged ({type(error).__name__}: {reason}). "
                "Remove it, and --resume begins anew."
            ) from error

    def _take_over(self, saved: Checkpoint) -> None:
        self.objective.load_state_dict(saved.tensors["objective"])
        restore_optimizer(self.optimizer, saved.tensors.get("optimizer", {}))
        if self.average is not None:
            self.average.load_state_dict(saved.tensors["average"])
        if self.accelerator.scaler is not None and saved.facts["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(saved.facts["scaler"])
        if self.accelerator.is_main_process:
            self.figures.copy_(saved.tensors["run"]["figures"])
        self.epoch, self.step = int(saved.facts["epoch"]), int(saved.facts["step"])
        if not (0 <= self.epoch <= self.recipe.epochs and 0 <= self.step <= self.data.steps):
            raise ValueError(f"epoch {self.epoch}, step {self.step}")
        self.seconds = float(saved.facts["seconds"])
        self.history = History.from_json(saved.facts["history"])

    def fail(self) -> None:
        kept = f" The last good checkpoint is kept: {self.checkpoint}." if self.checkpoint else ""
        raise TrainingError(
            f"The loss or the weights are no longer finite at epoch {self.epoch + 1}, step {self.step}."
            f"{kept} Try a lower learning rate (it was {self.optimizer.param_groups[0]['lr']:.3g}), or fp32."
        )


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _check_same_run(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    before, now = _flat(saved), _flat(json.loads(json.dumps(wanted)))  # as it would be read back: tuples are lists
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"The checkpoint {path} belongs to another run: its {name} was {before.get(name)!r}, now it is "
                f"{now.get(name)!r}. Resume with the same settings, or train anew."
            )


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in identity.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        flat.update({f"{name}.{key}".rstrip("."): str(part) for key, part in inner})
    return flat
