"""``ddeep compare``: strategies side by side, with uncertainty."""

from __future__ import annotations

from typing import Any

from .. import console
from ..experiments.settings import CompareConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from .lists import ListCommand
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(
    cls=ListCommand,
    epilog=examples(
        "ddeep compare --model resnet20 --k 2,3,5",
        "ddeep compare --model resnet20 --strategies paper,contribution --weights a.th b.th --layers 'layer3*'",
    ),
)
@takes(CompareConfig)
def compare(given: dict[str, Any], config: ConfigOption = None, as_json: JsonOption = False) -> None:  # noqa: ARG001
    """Compare strategies for every k: accuracy before and after a refit, against chance, and how much they agree.

    Options with several values take them with commas or apart: --k 2,3,5 or --k 2 3 5; --weights a.th b.th.
    """
    from ..experiments.compare import run_comparison
    from ..reports.comparison_figures import draw_into
    from ..results.comparison import save_comparison, table_of
    from ..results.folder import check_out

    settings = read_config(CompareConfig, given, config)
    check_out(settings.out or default_out("compare"))
    document = run_comparison(settings)
    out = settings.out or default_out("compare", document["model"], document["dataset"])
    folder = save_comparison(document, out, lambda inside: draw_into(document, inside))
    _show(document, table_of(document))
    console.say(f"{'saved in':18} {folder}")
    console.document(json_text(document))


def _show(document: dict[str, Any], table: tuple[list[str], list[list[Any]]]) -> None:
    console.table(f"{document['model']} on {document['dataset']}", *table)
    console.say()
    refitted = any(row["refit_p_value"] is not None for row in document["rows"])
    when = "after a refit as well" if refitted else "before a refit"
    console.say(f"{'to best':18} points less than the best of its k; alike: cannot be told from it on these images")
    console.say(f"{'p':18} share of random selections at least as accurate {when}, the selection counted along")
    console.say(f"{'gap':18} accuracy of a class with noise at all other filters, less that with noise at its own")
    console.say(f"{'filters':18} how many different ones the classes have selected")
    console.say()
    for network in document["networks"]:
        low, high = network["full_interval"]
        console.say(f"{'full network':18} {network['full']:.2f} % ({low:.2f} to {high:.2f}), {network['weights']}")
    for row in document["skipped"]:
        ks = ", ".join(map(str, row["k"]))
        place = f"{row['layer']} of {row['weights']}" if len(document["networks"]) > 1 else row["layer"]
        console.note(f"Left out at {place}: {row['strategy']} with k = {ks}: {row['reason']}")
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in document["timings"].items())
    console.say(f"{'seconds':18} {seconds}")
