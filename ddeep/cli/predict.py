"""``ddeep predict``: sets of classes that hold the true one as often as was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import PredictConfig, read_config
from ..files.json import json_text
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()
_SHOWN = 6  # classes of a set, and filters, in a cell


@app.command(
    epilog=examples(
        "ddeep predict runs/mine photo.jpg test:7 --coverage 0.9", "ddeep predict runs/mine --calibrate test:0.2"
    )
)
@takes(PredictConfig)
def predict(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, or test:N and train:N for images of the dataset.", metavar="IMAGE"),
    ] = None,
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Give each image a set of classes: by its decomposed head, with a promise of how often the true one is in it.

    Without images it tells how often sets hold the true class of test images that did not calibrate, and their size.
    """
    from ..experiments.predict import predict_sets

    document = predict_sets(run, images or [], read_config(PredictConfig, given, config))
    if document["images"]:
        console.table(
            f"Sets of coverage {document['coverage']:g}",
            ["image", "true", "classes", "set", "strongest filters"],
            [_row(image) for image in document["images"]],
        )
        console.say()
    _show(document)
    console.document(json_text(document))


def _row(image: dict[str, Any]) -> list[str | None]:
    members = [f"{one['class']} {100 * one['probability']:.1f} % ({one['agrees_on']})" for one in image["set"]]
    filters = [str(one["filter"]) for one in image["filters"]]
    return [image["image"], image["true"], str(len(members)), _some(members, ", "), _some(filters, " ")]


def _members(level: int, threshold: float | None) -> str:
    """Which classes a set holds."""
    if threshold is None:
        return "all classes"
    agreeing = f"classes that agree with the predicted one on its {level} strongest filters" if level else "classes"
    if threshold <= 1:
        return f"{agreeing}{',' if level else ''} of probability {100 * (1 - threshold):.2f} % or more"
    return f"all {agreeing}, and others of probability {100 * (2 - threshold):.2f} % or more"


def _some(names: list[str], between: str) -> str:
    return between.join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _show(document: dict[str, Any]) -> None:
    found, held = document["calibration"], document["held"]
    images = found["images"]
    console.say(f"{'in a set':18} {_members(found['level'], found['threshold'])}")
    console.say(f"{'in brackets':18} how many of the strongest filters, in their order, the class has as well")
    console.say(
        f"{'calibrated on':18} {images['level'] + images['threshold']:,} images of the {found['split']} split: "
        f"{images['level']:,} for the level, {images['threshold']:,} for the probability"
    )
    if held is None:
        console.say(f"{'coverage':18} not measured: no images of the split are left. Calibrate on a share, test:0.5")
        return
    low, high = (100 * end for end in held["interval"])
    console.say(
        f"{'coverage':18} {100 * held['coverage']:.2f} % ({low:.2f} to {high:.2f}) of {held['images']:,} other test "
        f"images, asked for {100 * document['coverage']:g} %; {held['mean_size']:.2f} classes a set"
    )
