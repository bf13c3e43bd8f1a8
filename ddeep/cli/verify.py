"""``ddeep verify``: whether what is on disk is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..files.json import json_text
from .completion import completer
from .options import JsonOption, examples, new_app

app = new_app()


@app.command(epilog=examples("ddeep verify runs/*", "ddeep verify shards/* ~/.cache/ddeep"))
def verify(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of results, shards, or a cache.", autocompletion=completer("runs"))
    ],
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Check that results, shards and the cache are what was written, and repeat a run's cheap figures.

    Reads no images. Ends with status 1 where something has changed or is damaged.
    """
    from ..results.verify import verify as verify_path

    verdicts = [verdict for path in paths for verdict in verify_path(path)]
    damaged = [verdict for verdict in verdicts if verdict.problem is not None]
    rows = [
        [str(found.path), found.kind, "damaged" if found.problem else "whole" if found.sealed else "not vouched for"]
        for found in verdicts
    ]
    console.table("", ["folder", "what", "found"], rows)
    for found in damaged:
        console.say(f"damaged: {found.problem}")
    console.say(f"Of {len(verdicts)} checked, {len(damaged)} damaged.")
    checks = [
        {"path": found.path, "kind": found.kind, "sealed": found.sealed, "problem": found.problem} for found in verdicts
    ]
    console.document(json_text({"schema": "ddeep.verify/1", "damaged": len(damaged), "checks": checks}))
    if damaged:
        raise typer.Exit(1)
