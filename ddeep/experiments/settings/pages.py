"""The settings of ``ddeep report``, ``serve``, ``explain`` and ``predict``, which look at a run that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import model_validator

from ...errors import ConfigError
from .option import EXAMINE, SELECT, WRITE, option
from .runs import Several
from .subject import DataConfig, DeviceConfig, SeedConfig

if TYPE_CHECKING:
    from ...data.images import Split


class ReopenedConfig(DeviceConfig, DataConfig):
    """A run is opened again; what is not given is as the run had it."""

    data_dir: Path | None = option(  # type: ignore[assignment]
        None, EXAMINE, "Folder that holds datasets and weights (default: the run's)."
    )
    device: str | None = option(  # type: ignore[assignment]
        None, "How to compute", "auto, cpu, cuda, cuda:N or mps (default: the run's)."
    )


class ReportConfig(ReopenedConfig):
    """The settings of ``ddeep report``."""

    layers: Several = option((), EXAMINE, "Layers to compare: names or globs (default: some over the whole depth).")
    names: Path | None = option(None, EXAMINE, "JSON file with names of filters, as the page exports them.")
    no_layers: bool = option(False, EXAMINE, "Compare no layers, which saves a pass over the train split.")
    out: Path | None = option(None, WRITE, "HTML file to write (default: report.html in the run).")


class ServeConfig(ReopenedConfig):
    """The settings of ``ddeep serve``."""

    names: Path | None = option(None, EXAMINE, "JSON file with names of filters, as the page exports them.")
    port: int = option(8765, "How to compute", "Port on this machine; 0 is any that is free.", ge=0, le=65535)


class ExplainConfig(ReopenedConfig):
    """The settings of ``ddeep explain``."""

    true: str | None = option(None, EXAMINE, "The images' class (default: the dataset's label, or the folder's name).")
    out: Path | None = option(None, WRITE, "Folder for the pictures (default: explanations/ in the run).")


_PART = re.compile(r"(train|test)(?::(0?\.\d+|1(?:\.0*)?))?")


class PredictConfig(ReopenedConfig, SeedConfig):
    """The settings of ``ddeep predict``."""

    coverage: float = option(0.95, SELECT, "How often a set must hold the true class, at least.", gt=0, lt=1)
    calibrate: str = option("test:0.5", SELECT, "Images that say how large sets must be: train or test, :SHARE of it.")

    @model_validator(mode="after")
    def _a_part(self) -> PredictConfig:
        match = _PART.fullmatch(self.calibrate)
        if match is None or (match[2] is not None and float(match[2]) == 0):
            raise ConfigError(
                f"--calibrate {self.calibrate[:60]!r} cannot be: give train or test, and a share of it above 0 and "
                "up to 1, such as test:0.5."
            )
        return self

    @property
    def part(self) -> tuple[Split, float]:
        """The split, and the share of it that calibrates: all of it where none is named."""
        split, _, share = self.calibrate.partition(":")
        return ("train" if split == "train" else "test"), float(share or 1)
