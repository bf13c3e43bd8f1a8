"""What ``comparison.json`` must hold for a report to be made of it: the file may be damaged, or a stranger's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..files.sealed import write_sealed
from ..files.validation import first_problem
from .comparison_table import csv_of
from .folder import save_result

_Ends = Annotated[list[float], Field(min_length=2, max_length=2)]
_MOST = 256  # strategies, or values of k: what a figure has room for


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Layer(_Part):
    layer: str
    filters: int


class _Network(_Part):
    weights: str
    hashes: dict[str, str]
    full: float
    full_interval: _Ends
    images: dict[str, int]
    layers: list[_Layer]


class _Row(_Part):
    weights: str
    layer: str
    strategy: str
    k: float
    budget: int | None = None
    distinct_filters: int
    decomposed: float | None
    decomposed_interval: _Ends | None
    learned: float | None = None
    learned_interval: _Ends | None = None
    refit: float | None
    refit_interval: _Ends | None
    refit_l2: float | None = None
    refit_kept: Literal["refit", "decomposed"] | None = None
    refit_p_value: float | None = None
    best_difference: float | None = None
    best_difference_interval: _Ends | None = None
    best_p: float | None = None
    best_p_holm: float | None = None
    best_alike: bool | None = None
    full_difference: float | None = None
    full_difference_interval: _Ends | None = None
    full_p: float | None = None
    full_p_holm: float | None = None
    p_value: float | None
    essentiality_gap: float | None
    metrics: dict[str, Any]

    @model_validator(mode="after")
    def _whole(self) -> _Row:
        if (self.decomposed is None) != (self.decomposed_interval is None):
            raise ValueError("an accuracy lacks its interval")
        if (self.refit is None) != (self.refit_interval is None):
            raise ValueError("an accuracy after the refit lacks its interval")
        if (self.learned is None) != (self.learned_interval is None):
            raise ValueError("an accuracy of a learned head lacks its interval")
        if self.refit is not None and self.decomposed is None:
            raise ValueError("an accuracy after the refit lacks the one before")
        figures = (self.model_extra or {}).items()
        strange = [name for name, value in figures if not isinstance(value, int | float | None)]
        if strange:
            raise ValueError(f"{strange[0][:60]!r} is no number")
        return self


class _Null(_Part):
    weights: str
    layer: str
    filters_per_class: int | list[int]
    budget: int | None = None
    quantiles: dict[str, float]
    decomposed: list[float] | None = None
    refit: list[float] | None = None

    @model_validator(mode="after")
    def _whole(self) -> _Null:
        if not {"0.025", "0.975"} <= self.quantiles.keys():
            raise ValueError("the random selections lack their quantiles")
        return self


class _Agreement(_Part):
    weights: str
    layer: str
    k: float
    budget: int | None = None
    strategies: list[str]
    jaccard: list[list[float | None]]
    rank_agreement: list[list[float | None]]

    @model_validator(mode="after")
    def _square(self) -> _Agreement:
        side = len(self.strategies)
        for table in (self.jaccard, self.rank_agreement):
            if len(table) != side or any(len(row) != side for row in table):
                raise ValueError("a table of agreement is not square")
        return self


class _Skipped(_Part):
    layer: str
    strategy: str
    k: list[float]
    reason: str


class ComparisonDocument(_Part):
    """The parts of ``ddeep.comparison/1`` that a report shows."""

    model: str
    dataset: str
    k: list[float] = Field(min_length=1, max_length=_MOST)
    budget: list[int] = Field(default=[], max_length=_MOST)
    networks: list[_Network] = Field(min_length=1, max_length=_MOST)
    rows: list[_Row] = Field(min_length=1)
    null: list[_Null]
    agreement: list[_Agreement]
    skipped: list[_Skipped]
    config: dict[str, Any]
    timings: dict[str, float]
    plugins: dict[str, str]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _fits_together(self) -> ComparisonDocument:
        strategies = {row.strategy for row in self.rows}
        if len(strategies) > _MOST:
            raise ValueError(f"more than {_MOST} strategies")
        if not {row.k for row in self.rows} <= set(self.k):
            raise ValueError("a row has a k that is none of the comparison's")
        if not {row.budget for row in self.rows} <= {*self.budget, *([] if self.budget else [None])}:
            raise ValueError("a row has a budget that is none of the comparison's")
        if not all(set(table.strategies) <= strategies for table in self.agreement):
            raise ValueError("a table of agreement names a strategy without a row")
        measured = set(self.rows[0].model_extra or {})
        if any(set(row.model_extra or {}) != measured for row in self.rows):
            raise ValueError("its rows do not have the same figures")
        return self


def check_comparison_document(document: dict[str, Any]) -> None:
    """Raise ValueError, whose message says what is wrong, unless ``document`` is a whole comparison."""
    try:
        ComparisonDocument.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def save_comparison(document: dict[str, Any], out: Path, draw: Callable[[Path], None]) -> Path:
    """Write ``comparison.json``, ``comparison.csv`` and what ``draw(folder)`` adds; return where (``save_result``)."""

    def write(folder: Path) -> None:
        (folder / "comparison.csv").write_text(csv_of(document), encoding="utf-8", newline="")
        draw(folder)
        write_sealed(folder / "comparison.json", document, [path.name for path in folder.iterdir()])

    return save_result(out, write)
