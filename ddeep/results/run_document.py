"""What a run's ``run.json`` must hold for others to read it: the file may be damaged, or a stranger's."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


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


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints in one line."""
    problem = error.errors()[0]
    where = ".".join(str(part)[:60] for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"].removeprefix("Value error, ")
