"""``ddeep layers``: what a model's layers are called, and what comes out of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from ..files.json import json_text
from .completion import completer
from .options import JsonOption, examples, new_app

if TYPE_CHECKING:
    from ..networks.anatomy import LayerRow


app = new_app()


@app.command(epilog=examples("ddeep layers resnet20", "ddeep layers timm/resnet50 'layer4*'"))
def layers(
    model: Annotated[
        str, typer.Argument(help="Architecture: `ddeep list models`.", autocompletion=completer("models"))
    ],
    patterns: Annotated[list[str] | None, typer.Argument(help="Names, or globs over names (default: all).")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images to try it on (default: that of its weights).")
    ] = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Show a model's layers: name, type, output shape (of one image), filters; and which one feeds the head."""
    from ..networks.anatomy import examine, match_layers
    from ..registry.own_code import allow
    from ..registry.registry import registry

    allow(model)
    examined = examine(registry().find("model", model), size)
    wanted = set(match_layers(examined.module, patterns)) if patterns else None
    rows = [row for row in examined.layers if wanted is None or row.name in wanted]
    anatomy = examined.anatomy
    feeding = anatomy.layer.name if anatomy.layer else None

    def remark(row: LayerRow) -> str:
        times = f"called {row.calls} times, read at the last" if row.calls > 1 and not row.problem else ""
        head = "the head" if row.name == anatomy.head else ""
        if head and anatomy.layer is not None and anatomy.layer.is_input:
            head = f"the head; what it is given is the layer {feeding}"
        feeds = f"feeds the head ({anatomy.layer.pool})" if anatomy.layer and row.name == feeding else ""
        return "; ".join(filter(None, [head, feeds, times, row.problem]))

    console.table(
        f"{model} on images of {examined.size} × {examined.size}",
        ["name", "type", "shape", "filters", ""],
        [[row.name, row.type, _shape(row), row.filters, remark(row)] for row in rows],
    )
    if anatomy.problem:
        console.note(f"There is no default layer for {model}: {anatomy.problem}.")
    console.document(
        json_text(
            {
                "schema": "ddeep.layers/1",
                "model": model,
                "size": examined.size,
                "head": anatomy.head,
                "layer": feeding,
                "pool": anatomy.layer.pool if anatomy.layer else None,
                "problem": anatomy.problem,
                "layers": [asdict(row) | {"shape": row.shape and row.shape[1:]} for row in rows],
            }
        )
    )


def _shape(row: LayerRow) -> str | None:
    """The output's shape without the images' axis."""
    return "×".join(map(str, row.shape[1:])) if row.shape else None
