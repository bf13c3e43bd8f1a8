"""``ddeep measure``: metrics of layers, in one pass."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import console
from ..files.json import json_text
from .lists import separated
from .options import (
    BatchSizeOption,
    ConfigOption,
    DataDirOption,
    DatasetOption,
    DeviceOption,
    HeadOption,
    JsonOption,
    MeanOption,
    ModelOption,
    OutOption,
    PrecisionOption,
    SeedOption,
    SkipBadImagesOption,
    StdOption,
    WeightsOption,
)


def measure(
    model: ModelOption = None,
    layers: Annotated[
        list[str] | None, typer.Option(help="Names of layers or globs (default: the one feeding the head).")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Metrics, such as psi:0.9, or all: `ddeep list metrics` (default: those of every run)."),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="How to select, for metrics of a selection.")] = None,
    k: Annotated[str | None, typer.Option(help="Filters per class of that selection.")] = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    weights: WeightsOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    head: HeadOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    skip_bad_images: SkipBadImagesOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how selective layers are and what their classes share.

    Options with several values take them with commas or apart: --layers 'layer1*,layer2*' or --metrics psi pmi.
    """
    given = {name: value for name, value in locals().items() if name not in ("config", "as_json")}
    given.update({name: separated(given[name]) for name in ("layers", "metrics")})
    from ..experiments.measure import MeasureConfig, run_measurement
    from ..experiments.settings import read_config
    from ..files.paths import default_out
    from ..results.folder import check_out
    from ..results.measurement import save_measurement, table_of

    settings = read_config(MeasureConfig, given, config)
    check_out(settings.out or default_out("measure"))
    document = run_measurement(settings)
    folder = settings.out or default_out("measure", document["model"], document["dataset"])
    folder = save_measurement(document, folder)
    columns, rows = table_of(document)
    title = f"{document['model']} on {document['dataset']}"
    console.table(title, columns, [[_shown(value) for value in row] for row in rows])
    console.say()
    for name, value in document["means"].items():
        console.say(f"{name:18} {_shown(value)} (mean over layers)" if value is not None else f"{name:18} not defined")
    console.say(f"{'saved in':18} {folder}")
    console.document(json_text(document))


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
