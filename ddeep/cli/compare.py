"""``ddeep compare``: strategies side by side, with uncertainty."""

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
)

Names = list[str] | None


def compare(
    model: ModelOption = None,
    strategies: Annotated[
        Names, typer.Option(help="Which to compare, or all of them (default): `ddeep list strategies`.")
    ] = None,
    k: Annotated[Names, typer.Option(help="Filters per class, such as 2,3,5,10,20 (default: the model's own).")] = None,
    layers: Annotated[Names, typer.Option(help="Names of layers or globs (default: the one feeding the head).")] = None,
    weights: Annotated[Names, typer.Option(help="Checkpoints: weights files, or names of the model's own.")] = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    head: HeadOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    skip_bad_images: SkipBadImagesOption = None,
    no_refit: Annotated[
        bool | None, typer.Option("--no-refit", help="Skip the refits of the decomposed heads.")
    ] = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare strategies for every k: accuracy before and after a refit, against chance, and how much they agree.

    Options with several values take them with commas or apart: --k 2,3,5 or --k 2 3 5; --weights a.th b.th.
    """
    given = {name: value for name, value in locals().items() if name not in ("config", "as_json")}
    given.update({name: separated(given[name]) for name in ("strategies", "k", "layers")})
    given["weights"] = tuple(weights) if weights else None  # file names may hold commas
    from ..experiments.compare import run_comparison
    from ..experiments.compare_config import CompareConfig
    from ..experiments.settings import read_config
    from ..files.paths import default_out
    from ..reports.comparison_figures import draw_into
    from ..results.comparison import save_comparison, table_of
    from ..results.folder import check_out

    settings = read_config(CompareConfig, given, config)
    check_out(settings.out or default_out("compare"))
    document = run_comparison(settings)
    folder = save_comparison(
        document,
        settings.out or default_out("compare", document["model"], document["dataset"]),
        lambda inside: draw_into(document, inside),
    )
    _show(document, table_of(document))
    console.say(f"{'saved in':18} {folder}")
    console.document(json_text(document))


def _show(document: dict[str, Any], table: tuple[list[str], list[list[Any]]]) -> None:
    console.table(f"{document['model']} on {document['dataset']}", *table)
    console.say()
    console.say(f"{'p':18} share of random selections at least as accurate before a refit, the selection counted along")
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
