"""``ddeep report``: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import ReportConfig, read_config
from ..files.json import json_text
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep report runs/mine", "ddeep report runs/mine --layers 'layer?.?' --out page.html"))
@takes(ReportConfig)
def report(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Turn a run into one HTML file that opens anywhere, offline, and into figures (PNG, SVG, PDF) for a paper."""
    from ..reports import write_report

    settings = read_config(ReportConfig, given, config)
    written = write_report(run, settings)
    if written.missing:
        console.warn(f"Without images: {written.missing}")
    size = written.page.stat().st_size
    names = list(dict.fromkeys(path.stem for path in written.figures))
    kinds = ", ".join(dict.fromkeys(path.suffix[1:].upper() for path in written.figures))
    console.say(f"{written.page}  ({size / 1e6:.1f} MB): open it in any browser, it needs no network")
    if names:
        console.fact("figures in", written.figures[0].parent)
        console.fact(kinds, ", ".join(names))
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
