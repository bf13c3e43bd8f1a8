"""``ddeep forget``: classes taken out of a network without their images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import ForgetConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(epilog=examples("ddeep forget runs/mine --classes cat", "ddeep forget runs/mine --classes cat --deep"))
@takes(ForgetConfig)
def forget(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Take classes out of a run's network by its selection, without their images, and measure what is left of them.

    What a class's filters add to its own logit is removed; with --deep its own filters are silent for all. The probe is
    a linear classifier fitted to the last responses: what it still tells of a class, the network still holds.
    """
    settings = read_config(ForgetConfig, given, config)
    folder = settings.out or default_out("forget", run.name)
    check_out(folder)
    from ..experiments.forget import forget_run

    document = forget_run(run, settings, folder)
    rows = [
        (row["class"], "forgotten" if row["forgotten"] else "", *(_shown(row[name]) for name in _FIGURES))
        for row in document["per_class"]
    ]
    titles = ("class", "", "before %", "after %", "probe before %", "probe after %")
    console.table(f"{document['model']}: recall on the test split, 95 % intervals", titles, rows)
    console.say()
    others = document["others"]
    low, high = others["low"], others["high"]
    console.fact(
        "other classes",
        f"{others['before']['percent']:.2f} % before, {others['after']['percent']:.2f} % after: "
        f"{others['difference']:+.2f} points ({low:+.2f} to {high:+.2f}), p = {others['p']:.3g}",
    )
    called = sorted(document["forgotten_are_called"].items(), key=lambda pair: -pair[1])
    console.fact("now called", f"{', '.join(f'{name} {count}' for name, count in called)}")
    if document["deep"]:
        console.fact("silenced filters", " ".join(map(str, document["silenced"])))
    console.fact("saved in", document["folder"])
    console.document(json_text(document))


_FIGURES = ("before", "after", "probe_before", "probe_after")


def _shown(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    low, high = found["interval"]
    return f"{found['percent']:.2f} ({low:.2f} to {high:.2f})"
