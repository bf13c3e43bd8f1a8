"""The settings of a run, from the command line and a TOML file, validated."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ConfigError, suggestion
from ..networks.device import Precision
from ..selections.k import parse_k

MAX_CONFIG_BYTES = 2**20
_DEEPEST = 4


class NetworkConfig(BaseModel):
    """What every command that examines networks must know, but for their weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    dataset: str | None = None
    data_dir: Path = Path("data")
    head: str | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    batch_size: int = Field(default=256, strict=True, ge=1, le=65536)
    seed: int = Field(default=0, strict=True, ge=0, lt=2**63)
    skip_bad_images: bool = False

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _three_numbers(cls, value: Any) -> Any:
        return three_numbers(value)


class SubjectConfig(NetworkConfig):
    """What every command that examines one network must know."""

    weights: str | None = None


class RunConfig(SubjectConfig):
    """The settings of ``ddeep run``; a config file holds the same names."""

    layer: str | None = None
    strategy: str | None = None
    k: int | float | None = None
    selection: Path | None = None
    out: Path | None = None
    no_refit: bool = False
    finetune: int | None = Field(default=None, ge=1)

    @field_validator("k", mode="before")
    @classmethod
    def _k(cls, value: Any) -> Any:
        return None if value is None else parse_k(value)

    @model_validator(mode="after")
    def _one_source(self) -> RunConfig:
        if (self.strategy is None) == (self.selection is None):
            raise ConfigError(
                "Give either --strategy NAME or --selection FILE: `ddeep list strategies` shows the names."
            )
        if self.selection is not None and self.k is not None:
            raise ConfigError("--k goes with --strategy; a selection file has its own number of filters.")
        return self


def three_numbers(value: Any) -> Any:
    """``"R,G,B"``, or one number for all three, or a list of three, as three finite numbers."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(part) for part in (parts * 3 if len(parts) == 1 else parts)]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError("Input should be three numbers, R,G,B, or one for all three")
    return numbers


C = TypeVar("C", bound=BaseModel)


def read_config(kind: type[C], given: Mapping[str, Any], file: Path | None = None) -> C:
    """Validate settings: those ``given`` (None means not given) win over those of the TOML ``file``."""
    settings = _read_toml(kind, file) if file is not None else {}
    settings.update({name: value for name, value in given.items() if value is not None})
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from None


def _read_toml(kind: type[BaseModel], file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_CONFIG_BYTES + 1)  # not by its size: devices and pipes have none
        if len(content) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{file} is larger than 1 MiB; that is no config file.")
        document = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config file {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {str(error)[:200]}") from None
    settings = {}
    for key, value in document.items():
        name = key.replace("-", "_")
        if name not in kind.model_fields:
            known = sorted(kind.model_fields)
            near = suggestion(name, known) or f" Known keys: {', '.join(known)}."
            raise ConfigError(f"Unknown key {key[:60]!r} in {file}.{near}")
        if _depth(value) > _DEEPEST:
            raise ConfigError(f"{key[:60]!r} in {file} is nested too deeply for a setting.")
        settings[name] = value
    return settings


def _depth(value: Any) -> int:
    """How often lists and tables are nested in ``value``, counted no further than matters."""
    level, depth = [value], 0
    while depth <= _DEEPEST and (level := [one for one in level if isinstance(one, dict | list)]):
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = "-".join(str(part).replace("_", "-") for part in problem["loc"][:1])
    if problem["type"] == "missing":
        return f"--{name} is missing." + (" `ddeep list models` shows what there is." if name == "model" else "")
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return f"--{name} {shown}: {problem['msg'].removeprefix('Value error, ')}."
