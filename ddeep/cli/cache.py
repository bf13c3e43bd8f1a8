"""``ddeep cache``: what is kept between commands, and clearing it."""

from __future__ import annotations

from typing import Any, no_type_check

import typer

from .. import console
from ..files.json import json_text
from .options import JsonOption, new_app

app = new_app(invoke_without_command=True)


@app.callback()
@no_type_check  # typer's contexts are not the typer.Context that they must be annotated as
def _default(context: typer.Context, as_json: JsonOption = False) -> None:  # noqa: ARG001
    """List the cached responses and statistics, the largest first; clear them with `ddeep cache clear`."""
    if context.invoked_subcommand is None:
        list_()


def list_() -> None:
    """Show the entries of the response cache, and what else is kept."""
    from ..evidence.response_cache import cache_records
    from ..files.cache import PARTS, size_of
    from ..files.paths import cache_root

    rows = [_row(record.about, str(record.folder), record.nbytes) for record in cache_records()]
    columns = ["model", "layer", "split", "images", "filters", "precision"]
    cells = [[*(row[name] for name in columns), _size(row["bytes"])] for row in rows if row["images"] is not None]
    console.table("", [*columns, "size"], cells)
    if bare := [row["bytes"] for row in rows if row["images"] is None]:
        console.say(f"{'statistics alone':18} {_size(sum(bare))} of {len(bare)} layers")
    sizes = {part: size_of(cache_root() / part) for part in PARTS}
    for part, size in sizes.items():
        console.say(f"{part:18} {_size(size)}")
    console.say(f"{'kept in':18} {cache_root()}")
    document = {"schema": "ddeep.cache/1", "folder": str(cache_root()), "bytes": sizes, "entries": rows}
    console.document(json_text(document))


@app.command()
def clear(as_json: JsonOption = False) -> None:  # noqa: ARG001
    """Remove everything cached; the next command gathers it anew. Passes under way go on.

    A folder that ddeep has not made is left alone, and so is what lies behind links.
    """
    from ..files.cache import clear_cache
    from ..files.paths import cache_root

    cleared = clear_cache()
    if cleared.kept:
        console.warn(f"{len(cleared.kept)} things there are not ddeep's and stay, such as {cleared.kept[0]}.")
    if cleared.denied:
        console.warn(
            f"{len(cleared.denied)} files there may not be removed by this user and stay, such as {cleared.denied[0]}."
        )
    console.say(f"Freed {_size(cleared.freed)} in {cache_root()}.")
    document = {"schema": "ddeep.cache.clear/1", "folder": str(cache_root())}
    told = {"freed": cleared.freed, "kept": cleared.kept, "denied": cleared.denied}
    console.document(json_text({**document, **told}))


def _row(about: dict[str, Any], folder: str, nbytes: int) -> dict[str, Any]:
    """One entry; without kept responses, only statistics are there and nothing says of what."""
    key = about.get("key")
    known = key if isinstance(key, dict) else {}
    layer = known.get("layer")
    return {
        "model": known.get("model"),
        "layer": layer[0] if isinstance(layer, list) and layer else None,
        "split": known.get("split"),
        "images": about.get("images"),
        "filters": about.get("filters"),
        "precision": known.get("precision"),
        "bytes": nbytes,
        "folder": folder,
    }


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MB"
