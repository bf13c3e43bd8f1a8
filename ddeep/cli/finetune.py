"""``ddeep finetune``: train the whole network through its decomposed head."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..errors import ConfigError, TrainingStopped
from ..files.json import json_text
from ..files.paths import default_out
from .options import (
    DataDirOption,
    DatasetOption,
    DeviceOption,
    JsonOption,
    MeanOption,
    ModelOption,
    OutOption,
    SeedOption,
    StdOption,
    WeightsOption,
)
from .train import (
    AccumulateOption,
    AlphaOption,
    CropOption,
    EmaOption,
    EpochsOption,
    FlipOption,
    LayersOption,
    LrOption,
    OptimizerOption,
    RegularizerOption,
    RegularizerOptionsOption,
    ScheduleOption,
    SmoothingOption,
    TrackerOption,
    TrainBatchOption,
    TrainPrecisionOption,
    WeightDecayOption,
    shown_progress,
    train_and_show,
)

if TYPE_CHECKING:
    from ..experiments.finetune_config import FinetuneConfig

# What says which network and images; a run directory knows all of it.
_SUBJECT = ("model", "weights", "mean", "std", "dataset", "data_dir")


class HeadKind(StrEnum):
    """Through which head to train."""

    decomposed = "decomposed"
    dense = "dense"


def finetune(
    target: Annotated[
        Path | None, typer.Argument(help="A run directory, or a selection file (ddeep's or the authors' format).")
    ] = None,
    head: Annotated[
        HeadKind, typer.Option(help="dense: the same without decomposition, as the control.")
    ] = HeadKind.decomposed,
    model: ModelOption = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    weights: WeightsOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    epochs: EpochsOption = None,
    no_refit: Annotated[
        bool | None, typer.Option("--no-refit", help="Start from the decomposed head as it is, not from its refit.")
    ] = None,
    lr: LrOption = None,
    optimizer: OptimizerOption = None,
    schedule: ScheduleOption = None,
    batch_size: TrainBatchOption = None,
    accumulate: AccumulateOption = None,
    weight_decay: WeightDecayOption = None,
    label_smoothing: SmoothingOption = None,
    crop_padding: CropOption = None,
    flip: FlipOption = None,
    ema: EmaOption = None,
    precision: TrainPrecisionOption = None,
    regularizer: RegularizerOption = None,
    alpha: AlphaOption = None,
    regularizer_options: RegularizerOptionsOption = None,
    layers: LayersOption = None,
    device: DeviceOption = None,
    tracker: TrackerOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the unfinished fine-tuning in this run directory.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the whole network through its decomposed head.

    The paper's settings are the defaults (one epoch of Adam at 2e-4 in batches of 256); what is kept is a moving
    average of the weights (--ema 0: the last ones). The last epoch counts: none is chosen by its accuracy on the test
    split, and images held out of the train split would rank epochs badly, for the checkpoint has seen them.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    for name in ("target", "head", "out", "resume", "as_json"):
        given.pop(name, None)
    subject = {name: given.pop(name) for name in _SUBJECT if name in given}
    from ..experiments.finetune import read_settings
    from ..experiments.finetune_config import FinetuneConfig
    from ..experiments.settings import read_config

    if resume is not None:
        if target is not None or given or subject:
            raise ConfigError(f"--resume takes no other settings; the fine-tuning in {resume} knows its own.")
        _finetune_and_show(resume, read_settings(resume), resume=True)
    elif head is HeadKind.dense:
        _train_dense(target, subject, given, out)
    else:
        settings = read_config(FinetuneConfig, given)
        folder, source = _prepare(target, subject, settings, out)
        _finetune_and_show(folder, settings, source=source)


def _finetune_and_show(
    folder: Path, settings: FinetuneConfig, *, source: Path | None = None, resume: bool = False
) -> None:
    from ..evidence import processes

    document = finetune_shown(folder, settings, source=source, resume=resume)
    if processes.rank() == 0:
        figures = ", ".join(
            f"{name} {value:.2f} %" for name, value in document["accuracy"].items() if value is not None
        )
        console.say(f"{'accuracy':18} {figures}")
        console.say(f"{'saved in':18} {folder}")
        console.document(json_text(document))


def finetune_shown(
    folder: Path, settings: FinetuneConfig, *, source: Path | None = None, resume: bool = False
) -> dict[str, Any]:
    """Fine-tune the run in ``folder`` with progress shown; after Ctrl-C say how to go on, and exit."""
    from ..evidence import processes
    from ..experiments.finetune import finetune as finetune_run
    from ..reports.style import save
    from ..reports.training_curve import training_curve

    with shown_progress() as (on_step, on_epoch):
        try:
            document = finetune_run(folder, settings, source=source, resume=resume, on_step=on_step, on_epoch=on_epoch)
        except TrainingStopped as stopped:
            console.warn(f"{stopped} Go on with: ddeep finetune --resume {folder}")
            raise typer.Exit(130) from None
    if processes.rank() == 0:
        title = f"{document['model']} on {document['dataset']}, fine-tuned"
        save(training_curve(document["finetune"]["epochs"], title), folder)
    return document


def _prepare(
    target: Path | None, subject: dict[str, Any], settings: FinetuneConfig, out: Path | None
) -> tuple[Path, Path]:
    """The run directory to fine-tune in, and the run to read: that given, or one made from a selection file."""
    from ..evidence import processes
    from ..experiments.run import run as run_experiment
    from ..experiments.settings import RunConfig, read_config
    from ..files.paths import default_out
    from ..results.folder import check_out
    from ..results.run import read_run, save_run

    if target is None:
        raise ConfigError("Give a run directory or a selection file to fine-tune: ddeep finetune RUN_OR_SELECTION")
    folder = out or default_out("finetune", target.stem)
    check_out(folder)
    if not target.exists():
        raise ConfigError(f"There is no run directory or selection file {str(target)!r}. `ddeep run` makes both.")
    if target.is_dir():
        if subject:
            raise ConfigError(f"The run in {target} knows its own {' and '.join(sorted(subject))}; leave it out.")
        read_run(target)
        return folder, target
    if processes.world() > 1:
        raise ConfigError("Several processes fine-tune a run directory. Make it first: ddeep run --selection FILE")
    chosen = {**_settings_in(target), **subject}
    chosen.update(selection=target, no_refit=settings.no_refit, seed=settings.seed)
    folder = save_run(run_experiment(read_config(RunConfig, chosen)), folder)
    return folder, folder


def _settings_in(selection: Path) -> dict[str, Any]:
    """Model and dataset that a selection file names, if it does."""
    from ..selections.selection import Selection

    source = Selection.load(selection).source
    return {name: source[name] for name in ("model", "dataset", "layer") if source.get(name)}


def _train_dense(target: Path | None, subject: dict[str, Any], given: dict[str, Any], out: Path | None) -> None:
    """The control: the same training of the same network, its dense head left as it is."""
    from ..experiments.settings import read_config
    from ..experiments.train_config import TrainConfig
    from ..results.run import read_run

    if given.pop("no_refit", False):
        raise ConfigError("--no-refit goes with a decomposed head; a dense one is not refitted.")
    if target is not None:
        source = read_run(target)["config"] if target.is_dir() else _settings_in(target)
        subject = {**{name: source[name] for name in _SUBJECT if source.get(name) is not None}, **subject}
    settings = read_config(TrainConfig, {**subject, **given, "pretrained": True, "out": out})
    train_and_show(settings, out or default_out("finetune", f"{settings.model}-dense"), resume=False)
