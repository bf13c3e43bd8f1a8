"""``ddeep compare``: strategies side by side, with uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import CompareConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .lists import ListCommand
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

WIDE = 130  # columns of a terminal that the whole table takes

app = new_app()


@app.command(
    cls=ListCommand,
    epilog=examples(
        "ddeep compare --model resnet20 --k 2,3,5",
        "ddeep compare --model resnet20 --strategies paper,contribution --weights a.th b.th --layers 'layer3*'",
    ),
)
@takes(CompareConfig)
def compare(
    given: dict[str, Any],
    wide: Annotated[
        bool, typer.Option("--wide", help=f"Show all columns, whatever the terminal has room for (from {WIDE} on).")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Compare strategies for every k: accuracy before and after a refit, against chance, and how much they agree.

    Options with several values take them with commas or apart: --k 2,3,5 or --k 2 3 5; --weights a.th b.th.
    """
    settings = read_config(CompareConfig, given, config)
    check_out(settings.out or default_out("compare"))
    from ..experiments.compare import run_comparison
    from ..reports.comparison_figures import draw_into
    from ..results.comparison import save_comparison

    document = run_comparison(settings)
    out = settings.out or default_out("compare", document["model"], document["dataset"])
    folder = save_comparison(document, out, lambda inside: draw_into(document, inside))
    show(document, folder, wide=wide or console.width() >= WIDE)
    console.document(json_text(document))


def show(document: dict[str, Any], folder: Path, *, wide: bool) -> None:
    """What was found in a sentence, the table, what its columns mean, and where all of it is."""
    from ..results.comparison_summary import sentences
    from ..results.comparison_table import meanings_of, table_of

    for sentence in sentences(document):
        console.prose(sentence)
    console.say()
    columns, rows = table_of(document, wide=wide)
    keys = columns.index("strategy") + 1
    console.table(f"{document['model']} on {document['dataset']}, the best of each k first", columns, rows, keys=keys)
    console.say()
    for title, meaning in meanings_of(document, wide=wide):
        console.fact(title, meaning)
    console.say()
    for network in document["networks"]:
        low, high = network["full_interval"]
        console.fact("full network", f"{network['full']:.2f} % ({low:.2f} to {high:.2f}), {network['weights']}")
    for row in document["skipped"]:
        ks = ", ".join(map(str, row["k"]))
        place = f"{row['layer']} of {row['weights']}" if len(document["networks"]) > 1 else row["layer"]
        console.note(f"Left out at {place}: {row['strategy']} with k = {ks}: {row['reason']}")
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in document["timings"].items())
    console.fact("seconds", seconds)
    console.fact("saved in", folder)
