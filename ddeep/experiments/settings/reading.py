"""Settings from the command line and a TOML file, validated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ...errors import ConfigError, suggestion
from ...files.regular import read_bounded

MAX_CONFIG_BYTES = 2**20
_DEEPEST = 4


C = TypeVar("C", bound=BaseModel)


def read_config(kind: type[C], given: Mapping[str, Any], file: Path | None = None) -> C:
    """Validate settings: those ``given`` (None means not given) win over those of the TOML ``file``."""
    settings = _read_toml(kind, file) if file is not None else {}
    settings.update({name: value for name, value in given.items() if value is not None})
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, kind)) from None


def _read_toml(kind: type[BaseModel], file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(read_bounded(file, MAX_CONFIG_BYTES).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config file {file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {str(error)[:200]}") from None
    except ValueError as error:
        raise ConfigError(f"{file} is no config file: {error}.") from None
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


def _first_problem(error: ValidationError, kind: type[BaseModel]) -> str:
    problem = error.errors()[0]
    name = "-".join(str(part).replace("_", "-") for part in problem["loc"][:1])
    if problem["type"] == "missing":
        values = get_args(kind.model_fields[name.replace("-", "_")].annotation)
        known = f" It is one of {', '.join(map(str, values))}." if values else ""
        return f"--{name} is missing.{' `ddeep list models` shows what there is.' if name == 'model' else known}"
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return f"--{name} {shown}: {problem['msg'].removeprefix('Value error, ')}."
