"""A run's classes taken out of its network, and what is left of them measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import ConfigError
from ..evidence.evidence import Evidence
from ..evidence.store import gather
from ..exports.forget import forgotten_head, specific_filters
from ..files.sealed import write_sealed
from ..files.tensors import write_tensors
from ..heads.accuracy import predict
from ..heads.paired import accuracy_intervals, compare_paired
from ..heads.refit import refit
from ..networks.head import Head
from ..results.folder import save_result
from ..results.run import read_run
from ..selections.selection import Selection
from ._whole import class_numbers
from .opening import provenance_of
from .reopen import reopen
from .settings import ForgetConfig

SCHEMA = "ddeep.forget/1"


def forget_run(run: Path, config: ForgetConfig, out: Path) -> dict[str, Any]:
    """Take classes out of the network of a run by its selection; write its weights and what is left of them to ``out``.

    The network is the one the run examined, with its dense head; no image is used to forget, all are to measure. Raises
    DdeepError for classes that are not there, all of them, and a run whose images or weights have changed.
    """
    document = read_run(run)
    known = [row["class"] for row in document["per_class"]]
    classes = class_numbers(config.classes, known)
    if len(classes) == len(known):
        raise ConfigError(f"These are all {len(known)} classes: nobody would be left. Forget fewer.")
    selection = Selection.load(run / "selection.json", num_classes=len(known))
    if config.deep:
        specific_filters(selection, classes)
    subject = reopen(document, config.data_dir, config.device)
    layer = subject.layers([document["layer"]])[0]
    dense = subject.head_at(layer)
    if dense is None or subject.network.head is None:
        raise ConfigError(f"The run in {run} has no decomposed head (its layer does not feed the head).")
    head = forgotten_head(dense, selection, classes, deep=config.deep)
    evidence = {split: gather(subject, split, {layer: ()}, keep=[layer])[layer] for split in ("train", "test")}
    silenced = specific_filters(selection, classes) if config.deep else ()
    gone = torch.zeros(len(known), dtype=torch.bool)
    gone[list(classes)] = True
    found = _measured(evidence, {"before": dense, "after": head}, silenced, gone, known, config.seed)
    result = {
        "schema": SCHEMA,
        "run": str(run),
        **{name: document[name] for name in ("model", "dataset", "layer", "head", "strategy", "k")},
        "forgotten": [known[c] for c in classes],
        "deep": config.deep,
        "filters": {known[c]: list(selection.filters[c]) for c in classes},
        "silenced": list(silenced),
        **found,
        **provenance_of(subject),
    }
    state = dict(subject.network.module.state_dict())
    state[f"{subject.network.head}.weight"] = head.weight

    def write(folder: Path) -> None:
        write_tensors(state, folder / "model.safetensors")
        write_sealed(folder / "forget.json", result, ["model.safetensors"])

    return {**result, "folder": str(save_result(out, write))}


def _measured(
    evidence: dict[str, Evidence],
    heads: dict[str, Head],
    silenced: tuple[int, ...],
    gone: Bool[Tensor, " c"],
    known: list[str],
    seed: int,
) -> dict[str, Any]:
    """Recall of every class before and after, the others' accuracy, what forgotten images are called, and a probe."""
    responses, labels = evidence["test"].cached_responses()
    predicted = {name: predict(responses, *head) for name, head in heads.items()}
    theirs = gone[labels]
    probes = {"before": _probe(evidence, heads["before"], ()), "after": _probe(evidence, heads["before"], silenced)}
    right = {name: row == labels for name, row in predicted.items()}
    rows = []
    for c, name in enumerate(known):
        mine = labels == c
        figures = {key: _percent(row[mine]) for key, row in {**right, **_named("probe", probes, labels)}.items()}
        rows.append({"class": name, "forgotten": bool(gone[c]), "images": int(mine.sum()), **figures})
    called = predicted["after"][theirs].bincount(minlength=len(known)).tolist()
    return {
        "per_class": rows,
        "others": compare_paired(right["after"][~theirs], right["before"][~theirs], seed=seed)._asdict()
        | {key: _percent(row[~theirs]) for key, row in right.items()},
        "forgotten_are_called": {name: count for name, count in zip(known, called, strict=True) if count},
    }


def _named(prefix: str, predicted: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    return {f"{prefix}_{name}": row == labels for name, row in predicted.items()}


def _probe(evidence: dict[str, Evidence], dense: Head, silenced: tuple[int, ...]) -> Int64[Tensor, " n"]:
    """Classes of the test images by a linear classifier fitted to the train responses without the silenced filters.

    What it still tells of a class, the network still holds, whatever its own head says.
    """
    mask = torch.ones_like(dense.weight, dtype=torch.bool)
    mask[:, list(silenced)] = False
    fitted = refit(*evidence["train"].cached_responses(), *dense, mask).head
    return predict(evidence["test"].cached_responses()[0], *fitted)


def _percent(right: Bool[Tensor, " n"]) -> dict[str, Any] | None:
    """Percent that are right, with its interval; None where there are no images."""
    if not len(right):
        return None
    count: Float[Tensor, " 1"] | Tensor = right.sum()[None]
    interval = accuracy_intervals(count, len(right))[0].tolist()
    return {"percent": 100 * float(right.float().mean()), "interval": interval}
