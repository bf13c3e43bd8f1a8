"""``ddeep merge-modules``: cut networks joined to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import MergeModulesConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep merge-modules runs/cats runs/cars"))
@takes(MergeModulesConfig)
def merge_modules(
    cuts: Annotated[list[Path], typer.Argument(help="Folders that `ddeep cut` has written, of one network.")],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Join cut networks of one backbone to one network over all their classes.

    Exact cuts share what they have in common: the result equals the cut of all their classes at once. Networks that
    were shrunk or fine-tuned run side by side.
    """
    settings = read_config(MergeModulesConfig, given, config)
    folder = settings.out or default_out("modules")
    check_out(folder)
    from ..experiments.merge_modules import merge_modules as merge

    document = merge(cuts, settings, folder)
    console.fact("classes", ", ".join(document["classes"]))
    shared = "one network" if document["shared"] else f"side by side: {document['not_shared_because']}"
    console.fact("joined", shared)
    cost = document["cost"]
    console.fact("cost", f"{cost['parameters']:,} parameters, {cost['multiply_adds']:,} multiply-adds")
    console.fact("accuracy", f"{document['accuracy']:.2f} % of the test images of these classes")
    console.fact("saved in", document["folder"])
    console.document(json_text(document))
