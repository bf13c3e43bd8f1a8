"""``ddeep serve``: a run's page on this machine, for images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import ReportConfig, ServeConfig, read_config
from ..files.json import json_text
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep serve runs/mine", "ddeep serve runs/mine --port 0"))
@takes(ServeConfig)
def serve(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Show a run's page on this machine alone, and drop images on it: its network says what it sees in them."""
    from ..reports import server
    from ..reports.findings import find
    from ..reports.looking import Looker
    from ..reports.run_page import run_page

    settings = read_config(ServeConfig, given, config)
    listening = server.bound(settings.port)
    shown = ReportConfig(no_layers=True, **settings.model_dump(exclude={"port"}))
    found = find(run, shown)
    app = server.application(run_page(found, [], served=True), Looker(found))
    url = f"http://{server.LOOPBACK}:{listening.getsockname()[1]}/"
    console.say(f"{url}  (Ctrl-C ends it)")
    console.document(json_text({"schema": "ddeep.serving/1", "url": url}))
    server.serve(app, listening)
