"""The settings of ``ddeep report`` and ``ddeep explain``, which look at a run that is there."""

from __future__ import annotations

from pathlib import Path

from .option import EXAMINE, WRITE, option
from .runs import Several
from .subject import DataConfig, DeviceConfig


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
    no_layers: bool = option(False, EXAMINE, "Compare no layers, which saves a pass over the train split.")
    out: Path | None = option(None, WRITE, "HTML file to write (default: report.html in the run).")


class ExplainConfig(ReopenedConfig):
    """The settings of ``ddeep explain``."""

    true: str | None = option(None, EXAMINE, "The images' class (default: the dataset's label, or the folder's name).")
    out: Path | None = option(None, WRITE, "Folder for the pictures (default: explanations/ in the run).")
