"""The settings of the commands that take a network out of ddeep: export, cut, forget and merge-modules."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from ...errors import ConfigError
from .option import SELECT, TRAIN, WRITE, option
from .pages import ReopenedConfig
from .runs import Several
from .subject import SeedConfig

_OUT = "Folder to write (default: one of its own under runs/)."
_PROGRAM = "The program to write: pt2 or onnx."


class ExportConfig(BaseModel):
    """The settings of ``ddeep export``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Literal["safetensors", "pt2", "onnx"] = option(
        ..., WRITE, "safetensors (weights), pt2 (a program of torch) or onnx."
    )
    opset: int = option(20, WRITE, "ONNX: the opset to write.", strict=True, ge=1)
    pixels: bool = option(False, WRITE, "Put the normalisation into it: it then takes uint8 pixels.")
    out: Path | None = option(None, WRITE, _OUT)


class CutConfig(ReopenedConfig, SeedConfig):
    """The settings of ``ddeep cut``."""

    classes: Several = option((), SELECT, "The classes to keep, by name: cat,dog. One: it against the rest.")
    budget: int | None = option(
        None, SELECT, "Choose their filters anew: so many different ones that all kept classes together may use.", ge=1
    )
    strategy: str = option(
        "taylor", SELECT, "What says which inner filters the kept classes need.", complete="strategies"
    )
    shrink: float | None = option(None, SELECT, "Share of every inner layer's filters to remove.", gt=0, lt=1)
    params: float | None = option(None, SELECT, "Shrink to this share of the parameters.", gt=0, lt=1)
    flops: float | None = option(None, SELECT, "Shrink to this share of the multiply-adds.", gt=0, lt=1)
    latency: float | None = option(None, SELECT, "Shrink to this share of the time of a batch of 64.", gt=0, lt=1)
    epochs: int = option(0, TRAIN, "Epochs of learning the dense network's logits, after shrinking.", strict=True, ge=0)
    lr: float = option(1e-3, TRAIN, "Highest learning rate of fine-tuning.", gt=0, allow_inf_nan=False)
    to: Literal["pt2", "onnx"] = option("pt2", WRITE, _PROGRAM)
    out: Path | None = option(None, WRITE, _OUT)

    @model_validator(mode="after")
    def _one_target(self) -> CutConfig:
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"--{given[0]} and --{given[1]} say two things about the size: give one of them.")
        return self

    @property
    def target(self) -> tuple[str, float] | None:
        """What to shrink to, and its name."""
        return next(((name, value) for name in _TARGETS if (value := getattr(self, name)) is not None), None)


_TARGETS = ("shrink", "params", "flops", "latency")


class ForgetConfig(ReopenedConfig, SeedConfig):
    """The settings of ``ddeep forget``."""

    classes: Several = option((), SELECT, "The classes to forget, by name: cat,dog.")
    deep: bool = option(False, SELECT, "Silence the filters that are theirs alone, for every class.")
    out: Path | None = option(None, WRITE, _OUT)


class MergeModulesConfig(ReopenedConfig):
    """The settings of ``ddeep merge-modules``."""

    to: Literal["pt2", "onnx"] = option("pt2", WRITE, _PROGRAM)
    out: Path | None = option(None, WRITE, _OUT)
