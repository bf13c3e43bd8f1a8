"""Run directories: written whole under a temporary name, then renamed; read back with every part checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from ..errors import DataError, suggestion
from ..evidence.subject import Subject
from ..files.beside import name_beside, taken_out
from ..files.json import write_json
from ..files.regular import require_inside
from ..files.sealed import check_files, read_sealed, write_sealed
from ..files.tables import Table, Tabular
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..heads.decomposed import decompose
from ..networks.network import response_module
from ..networks.weights import build_fitting, load_strictly, read_state_dict
from ..registry.registry import registry
from ..registry.specs import resolve
from ..selections.form import HeadForm
from ..selections.selection import Selection
from .folder import save_result

RUN_SCHEMA = "ddeep.run/1"
RUNNING, FINISHED = "running", "finished"  # a run's ``status``
FILES = ("selection.json", "metrics.json", "model.safetensors", "history.csv", "regularizer.safetensors")


def save_run(result: RunResult, out: Path) -> Path:
    """Write ``run.json``, ``selection.json``, ``metrics.json`` and, with a decomposed head, ``model.safetensors``.

    ``run.json`` vouches for the others and for itself. Returns where they are (``save_result``).
    """

    def write(folder: Path) -> None:
        metrics, _ = taken_out({"metrics": result.document["metrics"]}, name_beside(folder / "run.json"))
        write_json(folder / "metrics.json", metrics["metrics"])
        result.selection.save(folder / "selection.json")
        if result.model is not None:
            write_tensors(result.model.state_dict(), folder / "model.safetensors")
        seal_run(folder, result.document)

    return save_result(out, write)


def seal_run(folder: Path, document: dict[str, Any]) -> None:
    """Write ``run.json``, which vouches for itself and for those of a run's files that are there.

    While a run is under way its files change, and it vouches for none.
    """
    there = [name for name in FILES if (folder / name).exists()]
    write_sealed(folder / "run.json", document, there if document.get("status") != RUNNING else ())


def _no_run(folder: Path) -> str:
    """What to say where there is no run, with those that there are."""
    inside = folder.is_dir()
    known = sorted(str(file.parent) for file in (folder if inside else folder.parent).glob("*/run.json"))
    what = f"{folder} is not a run directory: {'it has no run.json' if inside else 'there is no such folder'}."
    shown = f" Runs here: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}." if known else ""
    return what + ((not inside and suggestion(str(folder), known)) or shown)


def read_run(folder: Path | str, schema: str = RUN_SCHEMA, *, unfinished: bool = False) -> dict[str, Any]:
    """The document in ``run.json`` of a run directory.

    Raises DataError where it, or a file that it vouches for, is not what was written, and for a run whose fine-tuning
    has not finished unless ``unfinished``.
    """
    path = Path(folder) / "run.json"
    try:
        sealed = read_sealed(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_no_run(Path(folder))) from None
    except OSError as error:
        raise DataError(f"{folder} is not a run directory: {path}: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not a run: {error}.") from None
    document = sealed.document
    try:
        for name in ("run.json", *FILES):
            require_inside(Path(folder), name)
        check_files(Path(folder), sealed)
    except ValueError as error:
        raise DataError(f"{folder}: {error}. Bring back the file that belongs here, or make the run again.") from None
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
        if document.get("status") == RUNNING and not unfinished:
            raise DataError(f"The fine-tuning in {folder} has not finished. Go on: ddeep finetune --resume {folder}")
    return document


def load(folder: Path | str) -> nn.Module:
    """The decomposed model of a run directory, in eval mode, exactly as it was saved."""
    return saved_network(Path(folder), read_run(folder))


def saved_network(folder: Path, document: dict[str, Any], module: nn.Module | None = None) -> nn.Module:
    """As ``load``, where the document of the run has been read already, and perhaps its network is at hand."""
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise DataError(f"{folder} has no model.safetensors: its layer does not feed the head.")
    head, classes, state = str(document["head"]), len(document["per_class"]), read_state_dict(weights)
    rows = state.get(f"{head}.weight")
    if rows is None or len(rows) != classes:  # before a head of any size is made
        raise DataError(f"{weights} holds no head {head!r} for the {classes} classes of {folder / 'run.json'}.")
    selection = Selection.load(folder / "selection.json", num_classes=classes)
    if module is not None:
        pass  # decomposing it makes a copy
    elif document["config"].get("responses") is not None:
        module = response_module(classes, selection.num_filters)
    else:
        build = resolve(registry().find("model", document["model"]).build)
        module = build_fitting(build, classes, state, str(weights), head=head)
    module = decompose(module, selection, head=head)
    load_strictly(module, state, str(weights))
    return module.eval()


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _ClassRow(_Part):
    index: int
    name: str = Field(alias="class")
    images: int = Field(ge=0)
    filters: list[int]
    full: float | None


class RunDocument(_Part):
    """The parts of ``ddeep.run/1`` that other commands read."""

    model: str
    dataset: str
    weights: str | None
    layer: str
    head: str | None
    strategy: str | None
    k: int | float | None
    accuracy: dict[str, float | None]
    accuracy_present: dict[str, float | None]
    per_class: list[_ClassRow] = Field(min_length=2)
    selection: dict[str, list[int]]
    absent: list[str]
    metrics: dict[str, Any]
    timings: dict[str, float]
    images: dict[str, int]
    head_form: HeadForm | None = None
    config: dict[str, Any]
    hashes: dict[str, str]
    plugins: dict[str, str]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _fits_together(self) -> RunDocument:
        if [row.index for row in self.per_class] != list(range(len(self.per_class))):
            raise ValueError("per_class does not hold the classes in order")
        stages = [stage for stage, percent in self.accuracy.items() if percent is not None]
        if "full" not in stages:
            raise ValueError("it has no accuracy of the full network")
        for stage in stages:
            for row in self.per_class:
                if not isinstance((row.model_extra or {}).get(stage, row.full), float | int | None):
                    raise ValueError(f"the {stage} accuracy of class {row.index} is no number")
                if stage != "full" and stage not in (row.model_extra or {}):
                    raise ValueError(f"class {row.index} has no {stage} accuracy")
        return self


def check_run_document(document: dict[str, Any]) -> None:
    """Raise ValueError, whose message says what is wrong, unless ``document`` is a whole run."""
    try:
        RunDocument.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


@dataclass(repr=False)
class RunResult(Tabular):
    """What a run found: the JSON ``document``, the selection, and the decomposed model where there is one.

    ``subject`` is what it was about, as long as it is at hand.
    """

    document: dict[str, Any]
    selection: Selection
    model: nn.Module | None
    subject: Subject | None = field(default=None, repr=False)

    def table(self) -> Table:
        """A row for every class: its images, its filters, and its accuracy at each stage."""
        stages = [stage for stage, percent in self.document["accuracy"].items() if percent is not None]
        columns = ["class", "images", "filters", *stages]
        named = ", ".join(f"{stage} {self.document['accuracy'][stage]:.2f} %" for stage in stages)
        title = f"{self.document['model']} on {self.document['dataset']}, layer {self.document['layer']}: {named}"
        return Table(title, columns, [[row[name] for name in columns] for row in self.document["per_class"]])
