"""``ddeep train``: train a model from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..errors import ConfigError, TrainingStopped
from ..files.json import json_text
from .options import (
    ConfigOption,
    DataDirOption,
    DatasetOption,
    DeviceOption,
    JsonOption,
    MeanOption,
    ModelOption,
    OutOption,
    SeedOption,
    StdOption,
)

if TYPE_CHECKING:
    from ..experiments.train_config import TrainConfig
    from ..training.history import EpochRow
    from ..training.loop import Progress

EpochsOption = Annotated[int | None, typer.Option(help="Passes over the train split.")]
LrOption = Annotated[float | None, typer.Option("--lr", help="The highest learning rate of the schedule.")]
OptimizerOption = Annotated[str | None, typer.Option(help="sgd (Nesterov) or adam.")]
ScheduleOption = Annotated[str | None, typer.Option(help="one-cycle, cosine or constant.")]
TrainBatchOption = Annotated[
    int | None, typer.Option("--batch-size", help="Images of one optimizer step, over all processes.")
]
AccumulateOption = Annotated[int | None, typer.Option(help="Parts that a batch is computed in, to save memory.")]
MomentumOption = Annotated[float | None, typer.Option(help="Of SGD.")]
WeightDecayOption = Annotated[float | None, typer.Option(help="L2 on weights; biases and norms are spared.")]
SmoothingOption = Annotated[float | None, typer.Option("--label-smoothing", help="0 (none) to below 1.")]
CropOption = Annotated[int | None, typer.Option("--crop-padding", help="Pixels padded before a random crop; 0: none.")]
FlipOption = Annotated[
    bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the images (default: as suits the dataset).")
]
EmaOption = Annotated[float | None, typer.Option(help="Decay of a moving average of the weights; 0: none.")]
TrainPrecisionOption = Annotated[str | None, typer.Option("--precision", help="fp32, bf16 or fp16 (CUDA).")]
RegularizerOption = Annotated[str | None, typer.Option(help="A term of the loss: `ddeep list regularizers`.")]
AlphaOption = Annotated[float | None, typer.Option(help="The regularizer's strength, and its sign.")]
RegularizerOptionsOption = Annotated[
    list[str] | None, typer.Option("--regularizer-options", help="Another option of the regularizer: NAME=NUMBER.")
]
LayersOption = Annotated[
    list[str] | None, typer.Option("--layers", help="Layers for the regularizer: a name or a glob; may be repeated.")
]
TrackerOption = Annotated[str | None, typer.Option(help="none, tensorboard or wandb.")]


def train(
    model: ModelOption = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    optimizer: OptimizerOption = None,
    schedule: ScheduleOption = None,
    batch_size: TrainBatchOption = None,
    accumulate: AccumulateOption = None,
    momentum: MomentumOption = None,
    weight_decay: WeightDecayOption = None,
    label_smoothing: SmoothingOption = None,
    crop_padding: CropOption = None,
    flip: FlipOption = None,
    ema: EmaOption = None,
    precision: TrainPrecisionOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    size: Annotated[int | None, typer.Option(help="Side of the images the network sees.")] = None,
    regularizer: RegularizerOption = None,
    alpha: AlphaOption = None,
    regularizer_options: RegularizerOptionsOption = None,
    layers: LayersOption = None,
    device: DeviceOption = None,
    tracker: TrackerOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the unfinished run in this directory; it knows its settings.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model from scratch. The last epoch counts: none is chosen by its accuracy on the test split."""
    given = {name: value for name, value in locals().items() if name not in ("config", "resume", "as_json")}
    from ..experiments.settings import read_config
    from ..experiments.train import read_unfinished
    from ..experiments.train_config import TrainConfig
    from ..files.paths import default_out

    if resume is not None:
        extra = [name for name, value in given.items() if value is not None]
        if extra or config is not None:
            raise ConfigError(
                f"--resume takes no other options; the run in {resume} knows its own ({extra or 'config'})."
            )
        settings, folder = read_unfinished(resume), resume
    else:
        settings = read_config(TrainConfig, given, config)
        folder = settings.out or default_out("train", settings.model, settings.dataset)
    train_and_show(settings, folder, resume=resume is not None)


def train_and_show(settings: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Train with progress shown, then show the result; after Ctrl-C say how to go on, and exit."""
    from ..evidence import processes
    from ..experiments.train import run_training
    from ..reports.style import save
    from ..reports.training_curve import training_curve
    from ..results.folder import check_out

    if not resume and processes.rank() == 0:
        check_out(folder)
    with shown_progress() as (on_step, on_epoch):
        try:
            document = run_training(settings, folder, resume=resume, on_step=on_step, on_epoch=on_epoch)
        except TrainingStopped as stopped:
            console.warn(f"{stopped} Go on with: ddeep train --resume {folder}")
            raise typer.Exit(130) from None
    if processes.rank() == 0:
        save(training_curve(document["epochs"], f"{document['model']} on {document['dataset']}"), folder)
        _show(document, folder)
        console.document(json_text(document))


@contextmanager
def shown_progress() -> Iterator[tuple[Callable[[Progress], None], Callable[[EpochRow], None]]]:
    """Callbacks that show training as it goes: the step it is at, and a line for every epoch."""
    with console.status() as update:
        yield (lambda progress: update(_step_line(progress)), lambda row: console.note(_epoch_line(row)))


def _step_line(progress: Progress) -> str:
    left = progress.seconds_left
    return (
        f"epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps}: loss {progress.loss:.4f}, "
        f"accuracy {progress.accuracy:.2f} %, {progress.images_per_second:,.0f} images/s, {_duration(left)} left"
    )


def _epoch_line(row: EpochRow) -> str:
    penalty = "" if row.penalty is None else f", penalty {row.penalty:.4f}"
    test = "" if row.test_accuracy is None else f", test {row.test_accuracy:.2f} %"
    return (
        f"epoch {row.epoch}: loss {row.loss:.4f}{penalty}, train {row.accuracy:.2f} %{test}, "
        f"{row.images_per_second:,.0f} images/s, {row.seconds:.1f} s"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _show(document: dict[str, Any], folder: Path) -> None:
    console.say(f"{document['model']} on {document['dataset']}: {document['accuracy']['test']:.2f} % on the test split")
    console.say(f"after {len(document['epochs'])} epochs, {_duration(document['timings']['training'])} of training")
    console.say(f"saved in {folder}")
