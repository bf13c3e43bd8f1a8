"""``ddeep list``: what can be named on the command line."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, get_args

import typer

from .. import console
from ..errors import suggestion
from ..files.json import json_text
from ..registry.registry import Catalog, registry
from ..registry.specs import DatasetFamily, ModelFamily, Spec, resolve
from .completion import completer
from .options import JsonOption, examples, new_app, one_of

app = new_app()


Kind = Literal["models", "datasets", "strategies", "metrics", "regularizers", "executions"]
KINDS: tuple[str, ...] = get_args(Kind)


@app.command("list", epilog=examples("ddeep list", "ddeep list models 'timm/*resnet*'"))
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(KINDS)} (default: all).", autocompletion=completer(None, Kind), callback=one_of(KINDS)
        ),
    ] = None,
    pattern: Annotated[
        str, typer.Argument(help="A glob over the names; with a slash, as in 'timm/*resnet*', inside families.")
    ] = "*",
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """List models, datasets, strategies, metrics, regularizers or executions."""
    found = {chosen: _rows(registry().catalog(chosen), pattern) for chosen in ([kind] if kind else KINDS)}
    for title, rows in found.items():
        if rows:
            console.table(
                title, ["name", "summary", "plugin"], [[row["name"], row["summary"], row["plugin"]] for row in rows]
            )
    if not any(found.values()):
        names = [row["name"] for chosen in found for row in _rows(registry().catalog(chosen), "*")]
        near = suggestion(pattern, names) or " Patterns are globs, such as '*resnet*' or 'timm/*resnet*'."
        console.note(f"Nothing matches {pattern!r}.{near}")
    console.document(json_text({"schema": "ddeep.list/1", **found}))


def _rows(catalog: Catalog[Spec], pattern: str) -> list[dict[str, Any]]:
    prefix, slash, member_pattern = pattern.partition("/")
    if not slash:
        return [_row(catalog, spec) for spec in catalog.values() if fnmatchcase(spec.name, pattern)]
    families = [spec for spec in catalog.values() if isinstance(spec, ModelFamily) and fnmatchcase(spec.name, prefix)]
    return [
        {
            "name": f"{family.name}/{member}",
            "summary": "",
            "source": family.source,
            "plugin": catalog.provider(family.name),
        }
        for family in families
        for member in resolve(family.names)()
        if fnmatchcase(member, member_pattern)
    ]


def _row(catalog: Catalog[Spec], spec: Spec) -> dict[str, Any]:
    name = f"{spec.name}{'/…' if isinstance(spec, ModelFamily) else ':…' if isinstance(spec, DatasetFamily) else ''}"
    return {"name": name, "summary": spec.summary, "source": spec.source, "plugin": catalog.provider(spec.name)}
