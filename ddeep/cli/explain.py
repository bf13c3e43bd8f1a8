"""``ddeep explain``: why a run's network calls an image what it calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..experiments.settings import ExplainConfig, read_config
from ..files.json import json_text
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

if TYPE_CHECKING:
    from ..experiments.explain import ClassLogit, Explanation

app = new_app()


@app.command(epilog=examples("ddeep explain runs/mine test:7", "ddeep explain runs/mine photo.jpg --true cat"))
@takes(ExplainConfig)
def explain(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    images: Annotated[
        list[str], typer.Argument(help="Image files, or test:N and train:N for images of the dataset.", metavar="IMAGE")
    ],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Take the logits of the predicted and the true class apart, filter by filter, and draw what each filter sees."""
    from ..experiments.explain import SCHEMA, Explainer
    from ..files.paths import inside
    from ..reports.explanation_figure import explanation_plot
    from ..reports.style import save, style

    settings = read_config(ExplainConfig, given, config)
    folder = settings.out or inside(run, "explanations")
    explainer = Explainer.open(run, settings.data_dir, settings.device)
    documents = []
    for number, image in enumerate(images):
        explanation = explainer.explain(image, settings.true)
        with style():
            plot = explanation_plot(_file_name(image, images[:number]), explainer, explanation)
        figures = save(plot, folder)
        _show(explanation, explainer.subject.classes)
        console.say(f"drawn in {figures[0]}")
        console.say()
        documents.append({**explanation.to_json(explainer.subject.classes), "figures": figures})
    console.document(json_text({"schema": SCHEMA, "run": run, "images": documents}))


def _show(explanation: Explanation, classes: tuple[str, ...]) -> None:
    true = "" if explanation.true is None else f", true class {classes[explanation.true]}"
    name = f" ({explanation.name})" if explanation.name not in explanation.image else ""
    first, second = explanation.logits
    console.say(
        f"{explanation.image}{name}{true}: called {classes[explanation.predicted]} "
        f"(by the full network {classes[explanation.full_predicted]})"
    )
    console.say(
        f"probability {100 * first.probability:.1f} % (of {second.name} {100 * second.probability:.1f} %); "
        f"its logit is {explanation.margin:.3f} above the next"
    )
    for part in explanation.logits:
        kind = "called" if part.index == explanation.predicted else "true" if part.index == explanation.true else "next"
        console.table(f"{kind}: {part.name}", ["filter", "response", "typical", "weight", "W·r"], _rows(part))


def _rows(part: ClassLogit, digits: int = 3) -> list[list[str]]:
    """The terms of a logit, rounded so that what is printed adds up."""
    from ..experiments.explain import adding_up

    values, logit = adding_up([*(term.contribution for term in part.terms), part.bias], part.logit, digits)
    figures = [f"{value:.{digits}f}" for value in (*values, logit)]
    rows = [
        [
            str(term.filter),
            f"{term.response:.{digits}f}",
            "" if term.typical is None else f"{term.typical:.{digits}f}",
            f"{term.weight:.{digits}f}",
            figure,
        ]
        for term, figure in zip(part.terms, figures, strict=False)
    ]
    return [*rows, ["bias", "", "", "", figures[-2]], ["logit", "", "", "", figures[-1]]]


def _file_name(image: str, before: list[str]) -> str:
    """A safe file name for the picture of ``image``, another one for each of its namesakes."""

    def stem(given: str) -> str:
        name = Path(given.replace(":", "-")).stem
        return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")[:80] or "image"

    same = sum(stem(other) == stem(image) for other in before)
    return stem(image) + (f"-{same + 1}" if same else "")
