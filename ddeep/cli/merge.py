"""``ddeep merge``: join shards of evidence and go on with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..errors import ConfigError
from ..experiments.settings import WRITE, RunConfig
from ..files.json import json_text
from ..results.folder import check_out
from .options import JsonOption, examples, new_app
from .run import SHARD_SCHEMA, run_and_save
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep merge shards", "ddeep merge shards/00* --into joined/00"))
@takes(RunConfig, but=[name for name in RunConfig.model_fields if name not in ("data_dir", "out")])
def merge(
    shards: Annotated[
        list[Path], typer.Argument(help="Folders that `ddeep run --shard` has written, or a folder of them.")
    ],
    *,
    given: dict[str, Any],
    into: Annotated[
        Path | None,
        typer.Option(
            help="Join these, some or all, to one shard in this folder, and do not finish the run.",
            rich_help_panel=WRITE,
        ),
    ] = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Join the shards of one run and finish it, exactly as if one command had seen all images."""
    out = given.get("out")
    if into is not None and out is not None:
        raise ConfigError("--into writes a shard, and --out a run: give one of them.")
    for place in (into, out):
        if place is not None:
            check_out(place)
    from ..experiments.merge import merge_into_shard, merge_shards

    if into is not None:
        parts, of = merge_into_shard(shards, into)
        console.say(f"{parts} of {of} parts of the run joined in {into}")
        console.document(json_text({"schema": SHARD_SCHEMA, "parts": parts, "of": of, "saved": str(into)}))
        return
    settings = merge_shards(shards, given.get("data_dir"))
    run_and_save(settings.model_copy(update={"out": out}))
