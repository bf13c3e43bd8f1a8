"""``ddeep merge``: join shards of evidence and go on with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DataDirOption, JsonOption, OutOption
from .run import run_and_save


def merge(
    shards: Annotated[list[Path], typer.Argument(help="All folders that `ddeep run --shard I/N` has written.")],
    data_dir: DataDirOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Join the shards of one run and finish it, exactly as if one command had seen all images."""
    from ..experiments.merge import merge_shards
    from ..results.folder import check_out

    if out is not None:
        check_out(out)
    settings = merge_shards(shards, data_dir)
    run_and_save(settings.model_copy(update={"out": out}))
