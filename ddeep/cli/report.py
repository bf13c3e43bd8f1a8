"""``ddeep report``: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..files.json import json_text
from .options import DataDirOption, JsonOption


def report(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write (default: report.html in the run).")] = None,
    data_dir: DataDirOption = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Layers to compare: a name or a glob; may be repeated (default: some over the whole depth)."),
    ] = None,
    no_layers: Annotated[
        bool, typer.Option("--no-layers", help="Compare no layers, which saves a pass over the train split.")
    ] = False,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Turn a run into one HTML file that opens anywhere, offline, and into figures (PNG, SVG) for a paper."""
    from ..reports import write_report

    written = write_report(run, out, data_dir, [] if no_layers else layers or None)
    if written.missing:
        console.warn(f"Without images: {written.missing}")
    size = written.page.stat().st_size
    console.say(f"{written.page}  ({size / 1e6:.1f} MB)")
    for path in written.figures:
        console.say(str(path))
    console.document(
        json_text(
            {
                "schema": "ddeep.report/1",
                "report": written.page,
                "bytes": size,
                "figures": written.figures,
                "missing": written.missing or None,
            }
        )
    )
