"""``ddeep plugins``: what is installed, and what became of it; a new plugin; whether one keeps its promises."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, no_type_check

import typer

from .. import console
from ..files.json import json_text
from ..provenance import VERSION
from ..registry.registry import PluginRecord, PluginWarning, registry
from ..registry.scaffold import KINDS, Kind, write_plugin
from .completion import completer
from .options import JsonOption, new_app, one_of

app = new_app(invoke_without_command=True)


@app.callback()
@no_type_check  # typer's contexts are not the typer.Context that they must be annotated as
def _default(context: typer.Context, as_json: JsonOption = False) -> None:  # noqa: ARG001
    """Show the installed plugins, their versions and what each provides; write a new one; check one."""
    if context.invoked_subcommand is None:
        plugins()


def plugins() -> None:
    """Show the installed plugins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the table says it all
        found = registry()
    rows = [(record.key, record.version, record.status, _provided(record) or record.error) for record in found.plugins]
    console.table("", ["plugin", "version", "status", "provides"], rows)
    for record in found.plugins:
        if record.status == "loaded" and record.error:
            console.warn(f"{record.key}: {record.error}")
    for conflict in found.conflicts():
        console.warn(conflict)
    console.document(
        json_text(
            {
                "schema": "ddeep.plugins/1",
                "plugins": [asdict(record) for record in found.plugins],
                "conflicts": found.conflicts(),
            }
        )
    )


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The package's name, such as ddeep-mine.")],
    kind: Annotated[
        str,
        typer.Option(
            help=f"What it adds: {', '.join(KINDS)}.", autocompletion=completer(None, Kind), callback=one_of(KINDS)
        ),
    ] = "strategy",
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Write a package that installs, passes its own tests and adds a working example to edit."""
    folder = write_plugin(name, kind, Path())
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    console.say(f"Wrote {folder}: {', '.join(written)}")
    console.note(f"Next: pip install --editable './{folder}[test]' && ddeep plugins check {name} && pytest {folder}")
    console.document(json_text({"schema": "ddeep.plugins.new/1", "folder": str(folder), "files": written}))


@app.command()
def check(
    plugin: Annotated[str, typer.Argument(help="A package, or package:entry_point: `ddeep plugins`.")],
    data_dir: Annotated[Path, typer.Option(help="Folder that holds datasets and weights.")] = Path("data"),
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Hold a plugin to the contract: shapes, determinism, order of images, clean hands, clear errors, metadata."""
    from ..testing import BrokenPromise, Unchecked, contract

    rows = []
    for promise in contract(plugin, data_dir):
        result, message = "kept", ""
        try:
            promise()
        except BrokenPromise as error:
            result, message = "broken", str(error)
        except Unchecked as reason:
            result, message = "unchecked", str(reason)
        rows.append((promise.kind, promise.spec.name, promise.promise.text, result, message))
    console.table("", ["kind", "name", "promise", ""], [row[:4] for row in rows])
    for kind, name, text, result, message in rows:
        if message:
            console.say(f"{result}: {kind}: {name}: {text}: {message.removeprefix(f'{kind}: {name}: {text}: ')}")
    kept, broken = (sum(row[3] == result for row in rows) for result in ("kept", "broken"))
    unchecked = len(rows) - kept - broken
    console.say(f"Of {len(rows)} promises {kept} are kept, {broken} broken, {unchecked} unchecked.")
    package = plugin.partition(":")[0]
    summary = f"{package} {version(package)} keeps {kept} of {len(rows)} promises to ddeep {VERSION}"
    console.say(summary)
    names = ("kind", "name", "promise", "result", "message")
    console.document(
        json_text(
            {
                "schema": "ddeep.plugins.check/1",
                "plugin": plugin,
                "summary": summary,
                "broken": broken,
                "checks": [dict(zip(names, row, strict=True)) for row in rows],
            }
        )
    )
    if broken:
        raise typer.Exit(1)


def _provided(record: PluginRecord) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in record.provides.items() if names)
