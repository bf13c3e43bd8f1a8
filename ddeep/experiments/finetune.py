"""Fine-tuning: train the whole network through the decomposed head (the paper's *decomposed softmax*).

It works on a run directory, which holds all it needs: the settings, the selection and the decomposed network. While
it lasts, the document's ``status`` is running, its own settings are in ``finetuning``, and a checkpoint is there beside
the run's files; at the end they are gone and the run's figures and weights are those after fine-tuning.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from ..data.images import Images
from ..errors import CacheError, ConfigError
from ..evidence import processes
from ..evidence.subject import Subject
from ..files.atomic import written_whole
from ..files.downloads import nothing_fetched
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..heads.accuracy import accuracy, accuracy_by_class, accuracy_percent, predictions, right_by_class
from ..heads.decomposed import decompose
from ..heads.form import hold_form, release_form
from ..networks.device import Precision, resolve_device
from ..networks.head import get_head
from ..registry.registry import registry
from ..results.run import FINISHED, RUNNING, read_run, saved_network, seal_run
from ..selections.form import HeadForm
from ..selections.selection import Selection
from ..training.checkpoint import CHECKPOINT, can_resume
from ..training.history import EpochRow, History
from ..training.loop import Progress, train
from ..training.regularizers import build_regularizer
from .opening import build_subject
from .reopen import check_same, run_config
from .settings import FinetuneConfig

_SETTINGS = "finetuning"  # their name in the document while it lasts


def finetune(
    folder: Path,
    config: FinetuneConfig,
    *,
    source: Path | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    own: Subject | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune the decomposed network of the run in ``folder`` and return the run's document with what came of it.

    ``source`` is a run to read instead, which stays as it is; ``folder`` holds or gets a copy of it. ``own`` is what
    the run is about, where that is a module and loaders of the user's; ``data_dir`` where its data is, if elsewhere.
    ``accuracy`` and ``per_class`` gain ``finetuned`` (test split, percent, after the last epoch), and ``finetune``
    tells the recipe and the history. Raises ConfigError where the run has no decomposed head.
    """
    source = source or folder
    document = read_run(source, unfinished=resume)
    if own is None:
        settings = run_config(document, data_dir)
        document["config"] = settings.model_dump(mode="json", exclude={"out"})  # which say where the data is here
    for name in (_SETTINGS, "elsewhere"):
        document.pop(name, None)
    with nothing_fetched():
        subject = own or build_subject(settings, resolve_device(config.device))
    if own is None:
        check_same(document, subject)
    preprocessing = subject.network.needed_preprocessing()
    module, form = _start(source, document, subject, config), _form(document, config)
    hold_form(get_head(module, document["head"]), form)
    flip = own is None and registry().find("dataset", document["dataset"]).flip  # one's own loader augments itself
    recipe, wanted = config.finetune_recipe(flip=flip), config.regularizer_config()
    network = subject.network
    regularizer = build_regularizer(
        wanted, module, size=preprocessing.size, classes=len(subject.classes), head=network.head, layer=network.layer
    )
    if not resume and processes.rank() == 0:  # only now: what cannot be fine-tuned leaves nothing behind
        begun = {**document, "status": RUNNING, _SETTINGS: config.model_dump(mode="json", exclude_none=True)}
        if source != folder:
            _copy_run(source, folder, begun)
        else:
            seal_run(folder, begun)
    images, test = _labelled(subject, "train"), _labelled(subject, "test")
    precision: Precision = "bf16" if recipe.precision == "bf16" else "fp32"
    history = train(
        module,
        images,
        preprocessing,
        recipe,
        seed=config.seed,
        device=config.device,
        regularizer=regularizer,
        evaluate=lambda judged: accuracy(judged, test, preprocessing, subject.device, precision),
        checkpoint=folder / CHECKPOINT,
        resume=resume and can_resume(folder),
        facts={
            "model": document["model"],
            "selection": document["selection"],
            "regularizer": asdict(wanted) if wanted else None,
        },
        tracker=config.tracker,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    release_form(get_head(module, document["head"]))
    document["head_form"] = form
    present = torch.zeros(len(subject.classes), dtype=torch.bool)
    present[test.labels] = True
    labels, predicted = predictions(module, test, preprocessing, subject.device, among=(None, present))
    counts = torch.bincount(labels, minlength=len(subject.classes))
    right, among_present = (right_by_class(labels, found, len(counts)) for found in predicted)
    document["accuracy"]["finetuned"] = accuracy_percent(right, counts)
    document["accuracy_present"]["finetuned"] = accuracy_percent(among_present, counts)
    for row, percent in zip(document["per_class"], accuracy_by_class(right, counts), strict=True):
        row["finetuned"] = percent
    document["finetune"] = {
        "recipe": recipe.identity(),
        "seed": config.seed,
        "from": _whence(document, config),
        "regularizer": asdict(wanted) if wanted else None,
        "epochs": history.to_json(),
    }
    document["status"] = FINISHED
    document["timings"]["finetune"] = round(history.seconds, 3)
    if processes.rank() == 0:
        if regularizer is not None and regularizer.learned():
            write_tensors(regularizer.learned(), folder / "regularizer.safetensors")
        _finish(folder, document, module, history)
    return document


def read_settings(folder: Path) -> FinetuneConfig:
    """The settings of the unfinished fine-tuning in ``folder``, to resume it."""
    document = read_run(folder, unfinished=True)
    if document.get("status") != RUNNING:
        raise CacheError(f"There is no unfinished fine-tuning in {folder} to resume.")
    try:
        return FinetuneConfig.model_validate(document.get(_SETTINGS))
    except ValidationError as error:
        raise CacheError(
            f"{folder / 'run.json'} does not hold the settings of its fine-tuning: {first_problem(error)}."
        ) from None


def _copy_run(source: Path, folder: Path, document: dict[str, Any]) -> None:
    """The files of a run that fine-tuning starts from, with this document, in a folder of their own."""
    with written_whole(folder) as temporary:
        temporary.mkdir()
        for name in ("selection.json", "metrics.json", "model.safetensors"):
            path = source / name
            if path.is_file() and not path.is_symlink():  # a stranger's link may lead anywhere
                shutil.copyfile(path, temporary / name)
        seal_run(temporary, document)


def _start(folder: Path, document: dict[str, Any], subject: Subject, config: FinetuneConfig) -> nn.Module:
    """The network to fine-tune: the run's own, or with the network's own weights at the selection.

    A refitted or learned head is scaled to the size of the network's own. On a train split that the network knows by
    heart a refit makes logits so sure of themselves that they leave no gradient to learn from; scaled, they rank the
    classes as before.
    """
    if document["accuracy"].get("decomposed") is None:
        raise ConfigError(
            f"The run in {folder} has no decomposed head (its layer does not feed the head): select at the layer that "
            "feeds it."
        )
    if not config.no_refit:
        module = saved_network(folder, document, subject.network.module)
        if _whence(document, config) in ("learned", "refit"):
            _match_size(get_head(module, document["head"]), get_head(subject.network.module, document["head"]))
        return module
    selection = Selection.load(folder / "selection.json", num_classes=len(subject.classes))
    return decompose(subject.network.module, selection, head=document["head"])


@torch.no_grad()
def _match_size(refitted: nn.Linear, original: nn.Linear) -> None:
    """Scale ``refitted`` to the norm that ``original`` has on the weights it keeps."""
    scale = (original.weight.cpu() * (refitted.weight != 0)).norm() / refitted.weight.norm()
    if scale.isfinite() and scale > 0:
        refitted.weight.mul_(scale)
        refitted.bias.mul_(scale)


def _whence(document: dict[str, Any], config: FinetuneConfig) -> str:
    """What ``_start`` returns, in a word."""
    if config.no_refit:
        return "decomposed"
    if "finetune" in document:
        return "finetuned"
    return next(name for name in ("refit", "learned", "decomposed") if document["accuracy"].get(name) is not None)


def _form(document: dict[str, Any], config: FinetuneConfig) -> HeadForm:
    """The form of the head that ``_start`` returns, which fine-tuning keeps."""
    form: HeadForm = "real" if config.no_refit else document.get("head_form") or "real"
    return form


def _labelled(subject: Subject, split: Any) -> Images:
    """The images of a split, their labels being the network's outputs."""
    return replace(subject.images[split], labels=subject.labels(split), classes=subject.classes)


def _finish(folder: Path, document: dict[str, Any], module: nn.Module, history: History) -> None:
    write_tensors(module.state_dict(), folder / "model.safetensors")
    history.write_csv(folder / "history.csv")
    seal_run(folder, document)
    (folder / CHECKPOINT).unlink(missing_ok=True)
