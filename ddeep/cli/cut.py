"""``ddeep cut``: a smaller network for some of a run's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..experiments.settings import CutConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .completion import completer
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes

app = new_app()


@app.command(
    epilog=examples(
        "ddeep cut runs/mine --classes cat,dog",
        "ddeep cut runs/mine --classes cat,dog --budget 6",
        "ddeep cut runs/mine --classes cat,dog --flops 0.5 --epochs 1",
    )
)
@takes(CutConfig)
def cut(
    run: Annotated[Path, typer.Argument(help="The run directory.", autocompletion=completer("runs"))],
    *,
    given: dict[str, Any],
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Make a standalone, physically smaller network for some of a run's classes, with a proof sheet.

    Filters that no kept class uses are removed from the head backwards through every layer, as far as nothing kept
    depends on them: the kept logits stay what they were. With --budget the kept classes first choose their filters anew
    and together. --shrink, --params, --flops or --latency then remove whole filters of inner layers by what the kept
    classes need, refit the layers behind them and match batch norms; --epochs learns the dense network's logits.
    """
    settings = read_config(CutConfig, given, config)
    folder = settings.out or default_out("cut", run.name)
    check_out(folder)
    from ..experiments.cut import cut_run
    from .train import shown_progress

    with shown_progress() as (on_step, _):
        document = cut_run(run, settings, folder, on_step)
    _show(document)
    console.document(json_text(document))


def _show(document: dict[str, Any]) -> None:
    proof = document["proof"]
    cost, taken = proof["cost"], proof["milliseconds"]
    rows = [
        (name.replace("_", "-"), f"{cost['whole'][name]:,}", f"{cost['cut'][name]:,}", f"{proof['shares'][name]:.3f}")
        for name in cost["whole"]
    ]
    for batch in taken["whole"]:
        before, after = taken["whole"][batch], taken["cut"][batch]
        rows.append((f"ms, batch {batch}", f"{before:.2f}", f"{after:.2f}", f"{after / before:.3f}"))
    console.table(f"{document['model']} cut to {', '.join(document['classes'])}", ("", "whole", "cut", "share"), rows)
    console.say()
    if "one_class" in proof:
        _show_one_class(document["classes"][0], proof["one_class"])
    else:
        _show_accuracy(proof)
    if document["chosen"] is not None:
        chosen = [(name, " ".join(map(str, row))) for name, row in document["chosen"]["filters"].items()]
        title = f"chosen anew: {document['chosen']['distinct']} filters in all, {document['budget']} at most"
        console.table(title, ("class", "filters"), chosen)
    console.fact("kept logits", f"equal to {document['exact_to']:.1e} before shrinking")
    console.fact("saved in", document["folder"])


def _show_one_class(name: str, proof: dict[str, Any]) -> None:
    rows = [
        (
            key,
            _interval(proof[key]["recall"]),
            _interval(proof[key]["rest_recall"]),
            f"{proof[key]['balanced_accuracy']:.2f}",
            f"{proof[key]['area']:.4f}",
        )
        for key in ("run", "cut")
    ]
    titles = ("", "recall %", "of the rest %", "mean %", "area under ROC")
    console.table(f"{name} against the rest by its logit, test split, 95 % intervals", titles, rows)
    _show_difference("run", proof)
    if "random" in proof:
        chance, shown = proof["random"], ", ".join(f"{one:.4f}" for one in proof["random"]["random"])
        console.say(f"area before training {chance['cut_before_finetuning']:.4f}; random cuts of the same size {shown}")
    called = [(other, found["images"], found["called"]) for other, found in proof["called"].items()]
    console.table(f"images of removed classes that are called {name}", ("class", "images", "called"), called)


def _interval(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['percent']:.2f} ({low:.2f} to {high:.2f})"


def _show_difference(name: str, proof: dict[str, Any]) -> None:
    found = proof[f"cut_against_{name}"]
    console.say(
        f"cut against {name}: {found['difference']:+.2f} points ({found['low']:+.2f} to {found['high']:+.2f}), "
        f"p = {found['p']:.3g}"
    )


def _show_accuracy(proof: dict[str, Any]) -> None:
    rows = [
        (name, f"{found['percent']:.2f}", f"{found['interval'][0]:.2f} to {found['interval'][1]:.2f}")
        for name, found in proof["accuracy"].items()
    ]
    console.table("accuracy among the kept classes, test split", ("", "%", "95 % interval"), rows)
    for name in ("network", "run"):
        _show_difference(name, proof)
    if "random" in proof:
        chance = proof["random"]
        shown = ", ".join(f"{percent:.2f}" for percent in chance["random"])
        console.say(
            f"before fine-tuning {chance['cut_before_finetuning']:.2f} %; random cuts of the same size {shown} %"
        )
    rows = [(name, *called.values()) for name, called in proof["removed_are_called"].items()]
    if rows:
        kept = list(next(iter(proof["removed_are_called"].values())))
        console.table("what images of removed classes are called", ("class", *kept), rows)
