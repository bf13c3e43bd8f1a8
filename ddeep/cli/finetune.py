"""``ddeep finetune``: train the whole network through its decomposed head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..errors import ConfigError, TrainingStopped
from ..experiments.settings import (
    TRAIN,
    WRITE,
    FinetuneConfig,
    RunConfig,
    SubjectConfig,
    TrainConfig,
    read_config,
)
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes
from .train import shown_progress, train_and_show
from .words import sentence

# What says which network and images; a run directory knows all of it.
_SUBJECT = (
    *("model", "weights", "head", "dataset", "data_dir", "classes"),
    *("mean", "std", "size", "resize", "interpolation"),
)

app = new_app()


@app.command(
    epilog=examples(
        "ddeep finetune runs/mine --out runs/finetuned --precision bf16",
        "ddeep finetune selection.json --model resnet20 --dataset digits --epochs 2",
    )
)
@takes(SubjectConfig, but=[name for name in SubjectConfig.model_fields if name not in _SUBJECT], into="subject")
@takes(FinetuneConfig)
def finetune(
    target: Annotated[
        Path | None,
        typer.Argument(
            help="A run directory, or a selection file (ddeep's or the authors').", autocompletion=completer("runs")
        ),
    ] = None,
    *,
    subject: dict[str, Any],
    given: dict[str, Any],
    dense: Annotated[
        bool, typer.Option("--dense", help="The same without decomposition, as the control.", rich_help_panel=TRAIN)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write (default: one of its own under runs/).", rich_help_panel=WRITE),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the unfinished fine-tuning in this run directory.",
            rich_help_panel=WRITE,
            autocompletion=completer("runs"),
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Train the whole network through its decomposed head.

    The paper's settings are the defaults (one epoch of Adam at 2e-4 in batches of 256); what is kept is a moving
    average of the weights (--ema 0: the last ones). The last epoch counts: none is chosen by its accuracy on the test
    split, and images held out of the train split would rank epochs badly, for the checkpoint has seen them.
    """
    if resume is not None:
        from ..experiments.finetune import read_settings

        data_dir = subject.pop("data_dir", None)
        if target is not None or given or subject or config is not None:
            raise ConfigError(
                f"--resume takes no other settings but --data-dir; the fine-tuning in {resume} knows its own."
            )
        _finetune_and_show(resume, read_settings(resume), data_dir=data_dir, resume=True)
    elif dense:
        _train_dense(target, subject, given, out, config)
    else:
        settings = read_config(FinetuneConfig, given, config)
        folder, source = _prepare(target, subject, settings, out)
        _finetune_and_show(folder, settings, source=source, data_dir=subject.get("data_dir"))


def _finetune_and_show(
    folder: Path,
    settings: FinetuneConfig,
    *,
    source: Path | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
) -> None:
    from ..evidence import processes

    document = finetune_shown(folder, settings, source=source, data_dir=data_dir, resume=resume)
    if processes.rank() == 0:
        console.prose(sentence(document))
        figures = ", ".join(
            f"{name} {value:.2f} %" for name, value in document["accuracy"].items() if value is not None
        )
        console.fact("accuracy", f"{figures} of the test images")
        console.fact("saved in", folder)
        console.document(json_text(document))


def finetune_shown(
    folder: Path,
    settings: FinetuneConfig,
    *,
    source: Path | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Fine-tune the run in ``folder`` with progress shown; after Ctrl-C say how to go on, and exit."""
    from ..evidence import processes
    from ..experiments.finetune import finetune as finetune_run
    from ..reports.style import save
    from ..reports.training_curve import training_curve

    with shown_progress() as (on_step, on_epoch):
        try:
            document = finetune_run(
                folder, settings, source=source, data_dir=data_dir, resume=resume, on_step=on_step, on_epoch=on_epoch
            )
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
    if target is None:
        raise ConfigError("Give a run directory or a selection file to fine-tune: ddeep finetune RUN_OR_SELECTION")
    folder = out or default_out("finetune", target.stem)
    check_out(folder)
    from ..evidence import processes
    from ..experiments.run import run as run_experiment
    from ..results.run import read_run, save_run

    if not target.exists():
        raise ConfigError(f"There is no run directory or selection file {str(target)!r}. `ddeep run` makes both.")
    if target.is_dir():
        if named := sorted(name for name in subject if name != "data_dir"):
            raise ConfigError(f"The run in {target} knows its own {' and '.join(named)}; leave it out.")
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


def _train_dense(
    target: Path | None, subject: dict[str, Any], given: dict[str, Any], out: Path | None, config: Path | None
) -> None:
    """The control: the same training of the same network, its dense head left as it is."""
    from ..experiments.reopen import recorded_settings
    from ..results.run import read_run

    if given.pop("no_refit", False):
        raise ConfigError("--no-refit goes with a decomposed head; a dense one is not refitted.")
    if target is not None:
        data_dir = subject.get("data_dir")
        source = recorded_settings(read_run(target), data_dir) if target.is_dir() else _settings_in(target)
        own = [name for name in _SUBJECT if name != "head" and source.get(name) is not None]
        subject = {**{name: source[name] for name in own}, **subject}
    if subject.pop("head", None) is not None:
        raise ConfigError("--head names the head to decompose; a dense network is trained as it is.")
    settings = read_config(TrainConfig, {**subject, **given, "pretrained": True, "out": out}, config)
    train_and_show(settings, out or default_out("finetune", f"{settings.model}-dense"), resume=False)
