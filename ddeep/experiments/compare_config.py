"""The settings of ``ddeep compare``, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import field_validator

from ..selections.k import parse_k
from .settings import NetworkConfig, SubjectConfig

ALL = "all"


class CompareConfig(NetworkConfig):
    """The settings of ``ddeep compare``; a config file holds the same names, lists where there may be several.

    ``weights`` are checkpoints to compare (default: the model's own), ``k`` defaults to the model's own.
    """

    strategies: tuple[str, ...] = (ALL,)
    k: tuple[int | float, ...] = ()
    layers: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    no_refit: bool = False
    out: Path | None = None

    @field_validator("strategies", "k", "layers", "weights", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int | float) else value

    @field_validator("k", mode="before")
    @classmethod
    def _k(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(map(parse_k, value))) if isinstance(value, list | tuple) else value

    @field_validator("strategies", "layers", "weights")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    def subjects(self) -> list[SubjectConfig]:
        """The settings of every checkpoint's network."""
        shared = self.model_dump(include=set(NetworkConfig.model_fields))
        return [SubjectConfig(**shared, weights=name) for name in self.weights or (None,)]
