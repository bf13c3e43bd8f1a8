"""What the commands do, as functions: for models and datasets of plugins, or for a module and loaders of one's own.

>>> result = ddeep.run(model=model, train=train_loader, test=test_loader, strategy="paper", k=5)
>>> ddeep.report(result, "report.html"), ddeep.explain(result, "test:7"), ddeep.finetune(result, epochs=1)
>>> ddeep.compare(model=model, train=train_loader, test=test_loader, strategies="paper,weight", k="2,5").to_pandas()
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .evidence.subject import Subject
from .experiments.compare import run_comparison
from .experiments.explain import Explainer, Explanation
from .experiments.finetune import finetune as finetune_run
from .experiments.own import own_subject
from .experiments.run import run as run_experiment
from .experiments.settings import CompareConfig, FinetuneConfig, ReportConfig, RunConfig, read_config
from .files.json import json_text
from .files.tables import Table, Tabular
from .registry.own_code import allow
from .reports import Report, write_report
from .reports.comparison_figures import draw, draw_into
from .reports.explanation_figure import explanation_plot
from .reports.style import as_png, style
from .results.comparison import save_comparison
from .results.comparison_summary import sentences
from .results.comparison_table import numbers_of, table_of
from .results.run import RunResult, read_run, save_run, saved_network
from .selections.selection import Selection

Model = str | nn.Module

# Settings of an own module that are not its run's.
_OWN = ("head", "device", "precision")

# Networks made in inference mode could never be trained, and what is kept of their images would not fit any other.
_outside_inference_mode = torch.inference_mode(mode=False)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tabular):
    """What a comparison found: the JSON ``document`` of ``ddeep compare``."""

    document: dict[str, Any]

    def table(self) -> Table:
        """The rows as the command shows them, below what it says of them."""
        title = f"{self.document['model']} on {self.document['dataset']}"
        return Table("\n".join([title, *sentences(self.document)]), *table_of(self.document))

    def numbers(self) -> Table:
        """All figures of every row, as in ``comparison.csv``."""
        return Table("", *numbers_of(self.document))

    def _repr_html_(self) -> str:
        """The table, and the figures below it."""
        plots = (b64encode(as_png(plot, colours=256)).decode() for plot in draw(self.document))
        return super()._repr_html_() + "".join(f'<img src="data:image/png;base64,{plot}">' for plot in plots)

    def save(self, out: Path | str) -> Path:
        """Write it with its figures, as ``ddeep compare --out`` does; return where."""
        return save_comparison(self.document, Path(out), lambda folder: draw_into(self.document, folder))


@dataclass(frozen=True, repr=False)
class Explained(Tabular, Explanation):
    """An explanation that a notebook shows as the figure that ``ddeep explain`` draws, a terminal as a table."""

    explainer: Explainer

    _repr_html_ = None  # type: ignore[assignment] # the picture says more

    def table(self) -> Table:
        """The parts of both logits, a class's below the other's."""
        names = self.explainer.subject.classes
        true = "" if self.true is None else f", true class {names[self.true]}"
        title = f"{self.image}{true}: called {names[self.predicted]}, {self.margin:.3f} above the next"
        rows: list[list[Any]] = []
        for part in self.logits:
            rows += [
                [part.name, term.filter, term.response, term.typical, term.weight, term.contribution]
                for term in part.terms
            ]
            rows += [
                [part.name, "bias", None, None, None, part.bias],
                [part.name, "logit", None, None, None, part.logit],
            ]
        return Table(title, ["class", "filter", "response", "typical", "weight", "W·r"], rows)

    def _repr_png_(self) -> bytes:
        with style():
            return as_png(explanation_plot("explanation", self.explainer, self))


@_outside_inference_mode
def run(
    *,
    model: Model | None = None,
    train: Iterable[Any] | None = None,
    test: Iterable[Any] | None = None,
    classes: Sequence[str] | None = None,
    **settings: Any,
) -> RunResult:
    """What ``ddeep run`` does, with its options as keywords: ``ddeep.run(model="resnet20", strategy="paper")``.

    ``model`` is a name, ``FILE.py:NAME``, or a module, which takes the loaders ``train`` and ``test``, looked through a
    few times, and perhaps names of its ``classes``. Nothing is written but to the cache, and to ``out`` where that is
    given; the result has the ``document`` of ``run.json``, the ``selection`` and the decomposed ``model``, None where
    the layer does not feed the head.
    """
    name, subject = _subject(model, train, test, classes, settings)
    config = read_config(RunConfig, {**settings, "model": name})
    result = run_experiment(config, subject)
    result.subject = subject
    if config.out is not None:
        save_run(result, config.out)
    return result


@_outside_inference_mode
def compare(
    *,
    model: Model | None = None,
    train: Iterable[Any] | None = None,
    test: Iterable[Any] | None = None,
    classes: Sequence[str] | None = None,
    **settings: Any,
) -> Comparison:
    """What ``ddeep compare`` does, with its options as keywords; the rest is as for ``run``."""
    name, subject = _subject(model, train, test, classes, settings)
    config = read_config(CompareConfig, {**settings, "model": name})
    found = Comparison(json.loads(json_text(run_comparison(config, subject))))  # as the command writes it
    if config.out is not None:
        found.save(config.out)
    return found


@_outside_inference_mode
def report(result: RunResult | Comparison | Path | str, out: Path | str | None = None, **settings: Any) -> Report:
    """What ``ddeep report`` does: the HTML page ``out``, of a run or comparison, or of a folder of one.

    Without ``out`` it is ``report.html`` in the folder, or in the current one.
    """
    page = Path(out) if out is not None else None if isinstance(result, Path | str) else Path("report.html")
    config = read_config(ReportConfig, {**settings, "out": page})
    with _folder(result) as (folder, subject):
        return write_report(folder, config, subject)


@_outside_inference_mode
def explain(result: RunResult | Path | str, image: str, true: str | None = None) -> Explained:
    """What ``ddeep explain`` does: the logits of one ``image`` (a file, ``test:7``, ``train:7``) taken apart."""
    with _folder(result) as (folder, subject):
        explainer = Explainer.open(folder, subject=subject)
        return Explained(**vars(explainer.explain(image, true)), explainer=explainer)


@_outside_inference_mode
def finetune(result: RunResult | Path | str, *, out: Path | str | None = None, **settings: Any) -> RunResult:
    """What ``ddeep finetune`` does to a run, with its options as keywords; a loader of one's own shuffles and augments.

    The run itself stays as it is; what came of it is returned, and written to ``out`` where that is given.
    """
    config = read_config(FinetuneConfig, settings)
    with _folder(result) as (folder, subject), TemporaryDirectory() as temporary:
        place = Path(out) if out is not None else Path(temporary) / "run"
        document = finetune_run(place, config, source=folder, own=subject)
        selection = Selection.load(place / "selection.json", num_classes=len(document["per_class"]))
        module = subject.network.module if subject is not None else None
        return RunResult(document, selection, saved_network(place, read_run(place), module), subject)


def _subject(
    model: Model | None,
    train: Iterable[Any] | None,
    test: Iterable[Any] | None,
    classes: Sequence[str] | None,
    settings: dict[str, Any],
) -> tuple[str | None, Subject | None]:
    """The model's name, and where it is a module, what the experiment is about."""
    if not isinstance(model, nn.Module):
        if train is not None or test is not None or classes is not None:
            raise ConfigError("train, test and classes go with a module; a model's name goes with dataset.")
        if model is not None:
            allow(model)
        return model, None
    if train is None or test is None:
        raise ConfigError("A module needs loaders of (images, labels): give train and test.")
    mistaken = [name for name in ("weights", "dataset", "responses", "mean", "std", "size", "ema") if name in settings]
    if mistaken:
        raise ConfigError(f"{mistaken[0]} goes with a model's name; a module has its weights, and its loaders images.")
    given = {name: settings[name] for name in _OWN if name in settings}
    subject = own_subject(model, train, test, classes=classes, **given)
    return subject.network.name, subject


@contextmanager
def _folder(result: RunResult | Comparison | Path | str) -> Iterator[tuple[Path, Subject | None]]:
    """The folder of a result, a passing one where it has not been saved, and its subject if at hand."""
    if isinstance(result, Path | str):
        yield Path(result), None
        return
    with TemporaryDirectory() as temporary:
        place = Path(temporary) / "result"
        if isinstance(result, Comparison):
            yield result.save(place), None
        else:
            yield save_run(result, place), result.subject
