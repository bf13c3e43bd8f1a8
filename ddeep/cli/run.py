"""``ddeep run``: select, decompose, measure, refit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..errors import ConfigError
from ..experiments.settings import WRITE, FinetuneConfig, RunConfig, read_config
from ..files.json import json_text
from ..files.paths import default_out
from ..results.folder import check_out
from .options import ConfigOption, JsonOption, examples, new_app
from .settings_options import takes
from .words import doubt, metric_facts, sentence

app = new_app()
SHARD_SCHEMA = "ddeep.shard/2"


@app.command(
    epilog=examples(
        "ddeep run --model resnet20 --strategy paper",
        "ddeep run --model timm/resnet18 --dataset folder --data-dir photos --weights mine.pth --strategy contribution",
    )
)
@takes(RunConfig)
def run(
    given: dict[str, Any],
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: gather only the I-th of N parts of the evidence into --out; `ddeep merge` joins. files: a shard "
            "of each tar (wds:…) that --out lacks; files:I/N: of every N-th tar.",
            rich_help_panel=WRITE,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Find each class's filters, let it see only those, and report what it costs and what a refit brings back."""

    settings = read_config(RunConfig, given, config)
    if shard is not None and shard.partition(":")[0] == "files":
        _gather_files(settings, shard)
        return
    check_out(settings.out or default_out("run"))
    if shard is not None:
        _gather_shard(settings, shard)
        return
    run_and_save(settings)


def run_and_save(settings: RunConfig) -> None:
    """Run, save and show; fine-tune where that is asked for."""
    from ..evidence import processes
    from ..experiments.run import run as run_experiment
    from ..results.run import save_run

    if settings.finetune is not None and processes.world() > 1:
        raise ConfigError(
            "Several processes fine-tune a run that is there: leave --finetune out, then: ddeep finetune RUN"
        )
    result = run_experiment(settings)
    names = [result.document[name] for name in ("model", "dataset")] + [result.document["strategy"] or "given"]
    limits = {"k": result.document["k"], "budget": result.document["budget"]}
    k = [f"{name}{value}" for name, value in limits.items() if value is not None]
    folder = save_run(result, settings.out or default_out(*names, *k))
    document = result.document if settings.finetune is None else _finetuned(settings, folder)
    _show(document, folder)
    console.document(json_text(document))


def _finetuned(settings: RunConfig, folder: Path) -> dict[str, Any]:
    """Fine-tune the run that has just been saved, with the paper's recipe in the run's precision."""
    from .finetune import finetune_shown

    given = {"epochs": settings.finetune, **settings.model_dump(include={"precision", "device", "seed"})}
    return finetune_shown(folder, read_config(FinetuneConfig, given))


def _gather_shard(settings: RunConfig, shard: str) -> None:
    from ..experiments.merge import gather_shard

    number, of = _part(shard, shard)
    gather_shard(settings, number, of, _shard_out(settings))
    console.say(f"shard {number + 1} of {of} saved in {settings.out}; join all with: ddeep merge SHARD…")
    console.document(json_text({"schema": SHARD_SCHEMA, "number": number + 1, "of": of, "saved": str(settings.out)}))


def _gather_files(settings: RunConfig, shard: str) -> None:
    from ..experiments.merge import gather_files

    _, colon, part = shard.partition(":")
    turn, turns = _part(part, shard) if colon else (0, 1)
    gathered, of = gather_files(settings, _shard_out(settings), turn, turns)
    there = len(range(turn, of, turns)) - gathered
    console.say(
        f"shards of {gathered} files saved in {settings.out}, {there} were there, of {of}; "
        f"join all with: ddeep merge {settings.out}"
    )
    facts = {"schema": SHARD_SCHEMA, "gathered": gathered, "there": there, "of": of, "saved": str(settings.out)}
    console.document(json_text(facts))


def _part(text: str, shard: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(
            f"--shard {shard!r} cannot be: give I/N, the I-th of N parts, such as 1/4, or files, or files:I/N."
        )
    return int(number) - 1, int(of)


def _shard_out(settings: RunConfig) -> Path:
    if settings.out is None:
        raise ConfigError("--shard needs --out DIR, the shard to write.")
    return settings.out


def _show(document: dict[str, Any], folder: Path) -> None:
    measured = [name for name, percent in document["accuracy"].items() if percent is not None]
    console.prose(sentence(document))
    if about := doubt(document):
        console.warn(about)
    console.say()
    k = f", k = {document['k']}" if document["k"] is not None else ""
    k += f", budget {document['budget']}" if document["budget"] is not None else ""
    console.table(
        f"{document['model']} on {document['dataset']}, layer {document['layer']}, "
        f"{document['strategy'] or 'given filters'}{k}",
        ["class", "filters", *(f"{name} %" for name in measured)],
        [
            [row["class"], _filters(row["filters"]), *(_percent(row[name]) for name in measured)]
            for row in document["per_class"]
            if row["images"] or row["filters"]
        ],
    )
    console.say()
    console.fact("accuracy", f"{_accuracies(document['accuracy'])} of {document['images']['test']:,} test images")
    if document["accuracy_present"] != document["accuracy"]:
        console.fact("among present", _accuracies(document["accuracy_present"]))
    console.fact("distinct filters", f"{document['distinct_filters']} in all classes together")
    if document["refit"] is not None:
        console.fact("refit", _penalty(document["refit"]))
    if document["bound"] is not None:
        console.fact("train loss", _bound(document["bound"]))
    if document["search"]:
        console.fact("search", ", ".join(f"{name} {value:.4g}" for name, value in document["search"].items()))
    for name, meaning in metric_facts({name.replace("_", "-"): value for name, value in document["metrics"].items()}):
        console.fact(name, meaning)
    console.fact("seconds", ", ".join(f"{name} {value:.1f}" for name, value in document["timings"].items()))
    console.fact("saved in", folder)


def _penalty(refit: dict[str, Any]) -> str:
    """How the penalty was found, in one line."""
    held_out = refit["held_out"]
    how = f"chosen on {held_out['images']:,} images of the train split" if held_out else "not chosen"
    kept = "" if refit["kept"] == "refit" else "; the decomposed head as it was is better there, and kept"
    form = "" if refit["form"] == "real" else f"{refit['form']}, "
    return f"{form}penalty {refit['l2']:g}, {how}{kept}"


def _bound(bound: dict[str, Any]) -> str:
    """How good the refit's train loss is, in one line."""
    if bound["gap"] is None:
        return f"{bound['loss']:.4g}; no bound above 0 at so small a penalty ({bound['l2']:g}): give a larger --l2"
    least = f"no head of so few filters has less than {bound['least']:.4g} (penalty {bound['l2']:g})"
    return f"{bound['loss']:.4g}; {least}: within {100 * bound['gap']:.1f} % of the best possible"


def _accuracies(figures: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.2f} %" for name, value in figures.items() if value is not None)


def _filters(filters: list[int], most: int = 12) -> str:
    shown = " ".join(map(str, filters[:most]))
    return shown + (f" … ({len(filters)})" if len(filters) > most else "")


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
