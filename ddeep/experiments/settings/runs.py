"""The settings of ``ddeep run``, ``ddeep measure`` and ``ddeep compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PositiveInt, model_validator

from ...errors import ConfigError
from ...selections.form import HeadForm
from ...selections.k import parse_k
from .option import COMPUTE, EXAMINE, SELECT, TRAIN, WRITE, option, several
from .subject import NetworkConfig, SubjectConfig

ALL = "all"


def _k(value: Any) -> Any:
    return None if value is None else parse_k(value)


OneK = Annotated[int | float | None, BeforeValidator(_k)]
Several = Annotated[tuple[str, ...], BeforeValidator(several)]

_LAYERS = "Names of layers or globs (default: the one feeding the head)."
_L2 = "Penalty of the refit (default: chosen on a tenth of the train split)."
_FORM = "What the refit may choose: real weights, or signs times magnitudes that are shared or 1."
_DISTINCT = "Give no two classes the same filters: the one that loses least by it takes another."
_BUDGET = "Different filters that all classes together may use (default: any number)."
_OUT = "Folder to write (default: one of its own under runs/)."


def _each_k(value: Any) -> Any:
    values = (value,) if isinstance(value, str | int | float) else value
    return tuple(dict.fromkeys(map(parse_k, values))) if isinstance(values, list | tuple) else values


def _check_form(form: HeadForm, no_refit: bool) -> None:
    if no_refit and form != "real":
        raise ConfigError(f"--head-form {form} is the form that a refit takes: leave out --no-refit.")


class RunConfig(SubjectConfig):
    """The settings of ``ddeep run``; a config file holds the same names."""

    layer: str | None = option(None, EXAMINE, "Dotted name of a layer (default: the one feeding the head).")
    strategy: str | None = option(None, SELECT, "How to select: `ddeep list strategies`.", complete="strategies")
    k: OneK = option(
        None,
        SELECT,
        "Filters per class, or a fraction in (0, 1): --k 0.9 keeps fewer filters than --k 0.5 (the most frequent ones, "
        "holding about 1-k of the counts, as the paper's authors do). Default: the model's own, mostly 5.",
    )
    budget: int | None = option(None, SELECT, _BUDGET, ge=1)
    selection: Path | None = option(None, SELECT, "Use the filters of this file (ddeep's or the authors') instead.")
    no_refit: bool = option(False, SELECT, "Skip the refit: the saved head is the strategy's own if it learned one.")
    l2: float | None = option(None, SELECT, _L2, gt=0, allow_inf_nan=False)
    head_form: HeadForm = option("real", SELECT, _FORM)
    distinct: bool = option(False, SELECT, _DISTINCT)
    bound: bool = option(False, SELECT, "State how small the train loss of any head with so few filters can be.")
    finetune: int | None = option(
        None, TRAIN, "Then fine-tune for so many epochs, as `ddeep finetune` does, which has more options.", ge=1
    )
    out: Path | None = option(None, WRITE, _OUT)

    @model_validator(mode="after")
    def _one_source(self) -> RunConfig:
        if (self.strategy is None) == (self.selection is None):
            raise ConfigError(
                "Give either --strategy NAME or --selection FILE: `ddeep list strategies` shows the names."
            )
        if self.selection is not None and self.k is not None:
            raise ConfigError("--k goes with --strategy; a selection file has its own number of filters.")
        if self.selection is not None and self.budget is not None:
            raise ConfigError("--budget goes with --strategy; a selection file has its filters already.")
        _check_form(self.head_form, self.no_refit)
        if self.distinct and self.selection is not None:
            raise ConfigError("--distinct goes with --strategy; the filters of a selection file are as they are.")
        if self.bound and self.no_refit:
            raise ConfigError("--bound says how good a refit is: leave out --no-refit.")
        return self


class MeasureConfig(SubjectConfig):
    """The settings of ``ddeep measure``. ``strategy`` and ``k`` make the selections that some metrics are of."""

    layers: Several = option((), EXAMINE, _LAYERS)
    metrics: Several = option(
        (), SELECT, "Such as psi:0.9, or all: `ddeep list metrics` (default: those of every run).", complete="metrics"
    )
    strategy: str | None = option(
        None, SELECT, "How to select, for metrics of a selection: `ddeep list strategies`.", complete="strategies"
    )
    k: OneK = option(None, SELECT, "Filters per class of that selection (default: the model's own, mostly 5).")
    budget: int | None = option(None, SELECT, _BUDGET, ge=1)
    out: Path | None = option(None, WRITE, _OUT)


class CompareConfig(NetworkConfig):
    """The settings of ``ddeep compare``; a config file holds the same names, lists where there may be several."""

    weights: Several = option((), EXAMINE, "Checkpoints: weights files, or names (default: the model's own).")
    layers: Several = option((), EXAMINE, _LAYERS)
    strategies: Several = option(
        (ALL,), SELECT, "Which to compare, or all: `ddeep list strategies`.", complete="strategies"
    )
    k: Annotated[tuple[int | float, ...], BeforeValidator(_each_k)] = option(
        (), SELECT, "Filters per class, such as 2,3,5,10,20 (default: the model's own, mostly 5)."
    )
    budget: Annotated[tuple[PositiveInt, ...], BeforeValidator(several)] = option(
        (), SELECT, "Different filters that all classes together may use, such as 50,100 (default: any number)."
    )
    metrics: Several = option((), SELECT, "Beside those of every comparison: `ddeep list metrics`.", complete="metrics")
    no_refit: bool = option(False, COMPUTE, "Skip the refits of the decomposed heads.")
    l2: float | None = option(None, COMPUTE, _L2, gt=0, allow_inf_nan=False)
    head_form: HeadForm = option("real", COMPUTE, _FORM)
    no_maps: bool = option(False, COMPUTE, "Skip the figures that run the network over the test split once more.")
    distinct: bool = option(False, SELECT, _DISTINCT)
    out: Path | None = option(None, WRITE, _OUT)

    @model_validator(mode="after")
    def _form_of_refits(self) -> CompareConfig:
        _check_form(self.head_form, self.no_refit)
        return self

    def subjects(self) -> list[SubjectConfig]:
        """The settings of every checkpoint's network."""
        shared = self.model_dump(include=set(NetworkConfig.model_fields))
        return [SubjectConfig(**shared, weights=name) for name in self.weights or (None,)]
