"""Run directories: written whole under a temporary name, then renamed; read back with every part checked."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import console
from ..errors import CacheError, DataError
from ..evidence import processes
from ..files.atomic import written_whole
from ..files.json import read_object
from ..files.locks import temporary_folder
from ..heads.decomposed import decompose
from ..networks.weights import load_strictly, read_state_dict
from ..registry.registry import registry
from ..registry.specs import resolve
from ..selections.selection import Selection
from .run_document import check_run_document

if TYPE_CHECKING:
    from ..experiments.run import RunResult


RUN_SCHEMA = "ddeep.run/1"


def check_out(out: Path) -> None:
    """Fail before any work is done where ``out`` cannot become a run directory. Leaves nothing behind."""
    if processes.rank() > 0:
        return
    place = Path(os.path.abspath(out))  # noqa: PTH100 - as the writer takes it
    try:
        if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
            raise CacheError(
                f"{out} already exists. Results are never overwritten: choose another --out, or remove it."
            )
        nearest = next(parent for parent in place.parents if parent.exists())
        with temporary_folder(nearest) as probe:
            (probe / place.name).mkdir()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CacheError(f"Cannot write to {out}: {reason}. Choose another --out.") from None


def save_run(result: RunResult, out: Path) -> Path:
    """Write ``run.json``, ``selection.json``, ``metrics.json`` and, with a decomposed head, ``model.safetensors``.

    Where another command has taken ``out`` meanwhile, the run is saved beside it, as ``out``-2 and so on.
    Returns where it is.
    """
    for number in itertools.count(1):
        folder = out if number == 1 else out.with_name(f"{out.name}-{number}")
        if folder.is_dir() and any(folder.iterdir()):
            continue
        try:
            _write_run(result, folder)
        except CacheError:
            if not (folder / "run.json").exists():
                raise
            continue
        if number > 1:
            console.warn(f"{out} has been taken meanwhile; this run is saved in {folder}.")
        return folder
    raise AssertionError("counting has no end")


def _write_run(result: RunResult, folder: Path) -> None:
    from safetensors.torch import save_model

    with written_whole(folder) as temporary:
        temporary.mkdir()
        (temporary / "run.json").write_text(console.json_text(result.document) + "\n", encoding="utf-8")
        (temporary / "metrics.json").write_text(console.json_text(result.document["metrics"]) + "\n", encoding="utf-8")
        result.selection.save(temporary / "selection.json")
        if result.model is not None:
            save_model(result.model, str(temporary / "model.safetensors"))


def read_run(folder: Path | str, schema: str = RUN_SCHEMA) -> dict[str, Any]:
    """The document in ``run.json`` of a run directory."""
    path = Path(folder) / "run.json"
    try:
        document = read_object(path)
    except OSError as error:
        raise DataError(f"{folder} is not a run directory: {path}: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not a run: {error}.") from None
    if document.get("schema") != schema:
        found = str(document.get("schema"))[:60]
        raise DataError(
            f"{path} is not a result this ddeep reads: schema {found!r}, expected {schema!r}, the result of "
            f"`ddeep {schema.removeprefix('ddeep.').partition('/')[0]}`."
        )
    if schema == RUN_SCHEMA:
        try:
            check_run_document(document)
        except ValueError as error:
            raise DataError(f"{path} is not a whole run: {error}.") from None
    return document


def load(folder: Path | str) -> nn.Module:
    """The decomposed model of a run directory, in eval mode, exactly as it was saved."""
    folder = Path(folder)
    document = read_run(folder)
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise DataError(f"{folder} has no model.safetensors: its layer does not feed the head.")
    head, classes, state = str(document["head"]), len(document["per_class"]), read_state_dict(weights)
    rows = state.get(f"{head}.weight")
    if rows is None or len(rows) != classes:  # before a head of any size is made
        raise DataError(f"{weights} holds no head {head!r} for the {classes} classes of {folder / 'run.json'}.")
    selection = Selection.load(folder / "selection.json", num_classes=classes)
    module = resolve(registry().find("model", document["model"]).build)(classes)
    module = decompose(module, selection, head=head)
    load_strictly(module, state, str(weights))
    return module.eval()
