"""``ddeep measure``: metrics of layers, in one pass."""

from __future__ import annotations

from typing import Any

from .. import console
from ..experiments.settings import MeasureConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .lists import ListCommand
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes
from .words import metric_facts

app = new_app()


@app.command(
    cls=ListCommand,
    epilog=examples(
        "ddeep measure --model resnet20 --layers 'layer*' --metrics psi,class-selectivity",
        "ddeep measure --model resnet20 --strategy paper --k 5 --metrics pmi essentiality",
    ),
)
@takes(MeasureConfig)
def measure(given: dict[str, Any], config: ConfigOption = None, as_json: JsonOption = False) -> None:  # noqa: ARG001
    """Measure how selective layers are and what their classes share.

    Options with several values take them with commas or apart: --layers 'layer1*,layer2*' or --metrics psi pmi.
    """
    settings = read_config(MeasureConfig, given, config)
    check_out(settings.out or default_out("measure"))
    from ..experiments.measure import run_measurement
    from ..results.measurement import save_measurement, table_of

    document = run_measurement(settings)
    folder = settings.out or default_out("measure", document["model"], document["dataset"])
    folder = save_measurement(document, folder)
    columns, rows = table_of(document)
    title = f"{document['model']} on {document['dataset']}"
    console.table(title, columns, [[_shown(value) for value in row] for row in rows])
    console.say()
    over = "" if len(rows) == 1 else f", means over {len(rows)} layers"
    console.say(f"What they mean{over}:")
    for name, meaning in metric_facts(document["means"]):
        console.fact(name, meaning)
    console.fact("saved in", folder)
    console.document(json_text(document))


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
