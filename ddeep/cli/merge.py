"""``ddeep merge``: join shards of evidence and go on with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..experiments.settings import RunConfig
from .options import JsonOption, examples, new_app
from .run import run_and_save
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep merge shards/*"))
@takes(RunConfig, but=[name for name in RunConfig.model_fields if name not in ("data_dir", "out")])
def merge(
    shards: Annotated[list[Path], typer.Argument(help="All folders that `ddeep run --shard I/N` has written.")],
    *,
    given: dict[str, Any],
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Join the shards of one run and finish it, exactly as if one command had seen all images."""
    from ..experiments.merge import merge_shards
    from ..results.folder import check_out

    out = given.get("out")
    if out is not None:
        check_out(out)
    settings = merge_shards(shards, given.get("data_dir"))
    run_and_save(settings.model_copy(update={"out": out}))
