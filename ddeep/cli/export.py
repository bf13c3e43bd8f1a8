"""``ddeep export``: a run's network as a file that needs no ddeep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import ExportConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep export runs/mine --to onnx", "ddeep export runs/mine --to safetensors --out plain"))
@takes(ExportConfig)
def export(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Write a run's decomposed network as a file that needs no ddeep, with a model card beside it.

    Weights (safetensors) load strictly into the same architecture of timm, torchvision or whoever made it. Programs
    (pt2, onnx) are run once and compared with the network before they get their name; their batch size is free.
    """
    settings = read_config(ExportConfig, given, config)
    folder = settings.out or default_out("export", run.name)
    check_out(folder)
    from ..experiments.export import export_run

    document = export_run(run, settings, folder)
    head, other = document["head_layouts"], ("gathered" if document["head_layout"] == "dense" else "dense")
    console.say(f"{'network':18} {document['file']}  ({document['bytes'] / 1e6:.2f} MB)")
    console.say(
        f"{'head':18} {document['head_layout']}: {head['seconds'][document['head_layout']] * 1e6:.0f} µs a batch of "
        f"{head['batch']}, {head['bytes'][document['head_layout']]} bytes ({other}: {head['seconds'][other] * 1e6:.0f} "
        f"µs, {head['bytes'][other]} bytes)"
    )
    if document["difference"] is not None:
        console.say(f"{'largest difference':18} {document['difference']:.1e} of the largest logit")
    console.document(json_text(document))
