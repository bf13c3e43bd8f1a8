"""``ddeep train``: train a model from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..errors import ConfigError, TrainingStopped
from ..experiments.settings import WRITE, TrainConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .lists import ListCommand
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

if TYPE_CHECKING:
    from ..training.history import EpochRow
    from ..training.loop import Progress

app = new_app()


@app.command(
    cls=ListCommand,
    epilog=examples(
        "ddeep train --model resnet20 --dataset digits --epochs 10",
        "ddeep train --model resnet20 --dataset digits --epochs 10 --regularizer leavitt --alpha -1",
    ),
)
@takes(TrainConfig, but=("pretrained", "weights"))
def train(
    given: dict[str, Any],
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the unfinished run in this directory; it knows its settings.", rich_help_panel=WRITE
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Train a model from scratch. The last epoch counts: none is chosen by its accuracy on the test split."""
    if resume is not None:
        from ..experiments.train import read_unfinished

        data_dir = given.pop("data_dir", None)
        if given or config is not None:
            raise ConfigError(
                f"--resume takes no other options but --data-dir; the run in {resume} knows its own "
                f"({list(given) or 'config'})."
            )
        settings, folder = read_unfinished(resume, data_dir), resume
    else:
        settings = read_config(TrainConfig, given, config)
        folder = settings.out or default_out("train", settings.model, settings.dataset)
    train_and_show(settings, folder, resume=resume is not None)


def train_and_show(settings: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Train with progress shown, then show the result; after Ctrl-C say how to go on, and exit."""
    if not resume:
        check_out(folder)
    from ..evidence import processes
    from ..experiments.train import run_training
    from ..reports.style import save
    from ..reports.training_curve import training_curve

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
    epochs = len(document["epochs"])
    console.prose(
        f"{document['model']} on {document['dataset']} gets {document['accuracy']['test']:.2f} % of the test images "
        f"right after {epochs} epoch{'s' * (epochs > 1)}, {_duration(document['timings']['training'])} of training."
    )
    console.fact("saved in", folder)
