"""The page of a run."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ..experiments.settings import RunConfig
from .depth import layer_metrics
from .findings import Findings
from .page import command, finetune_command, provenance, render
from .strips import Strip
from .style import Plot, inline_svg
from .views import changes, class_views, confusions, matrices, shared_filters


def run_page(found: Findings, plots: list[Plot], strips: list[Strip]) -> str:
    """The whole page as text."""
    document, measured = found.document, found.measured
    labels = measured.subject.labels("train") if measured is not None else None
    return render(
        "run.html.jinja",
        run=document,
        found=found,
        names=found.classes,
        command=_commands(document),
        accuracies=[(stage, document["accuracy"][stage]) for stage in found.stages],
        plots={plot.name.replace("-", "_"): Markup(inline_svg(plot)) for plot in plots},
        matrices=matrices(found),
        confusions=confusions(found),
        changes=changes(found),
        classes=class_views(found, labels),
        strips=strips,
        shown={strip.filter: strip.count for strip in strips},
        strip_rules=Markup("\n".join(map(_rule, strips))),
        users=found.users(),
        shared=shared_filters(found),
        depth=measured.depth if measured is not None else [],
        specs=layer_metrics(),
        facts=_facts(document),
    )


def _commands(document: dict[str, Any]) -> str:
    """What makes the run again, and its fine-tuning where that was a command of its own."""
    config = document.get("config") or {}
    run, more = command("run", RunConfig, config), finetune_command(document)
    return run if not more or config.get("finetune") else f"{run} --out RUN && {more}"


def _rule(strip: Strip) -> str:
    rule = f".f{strip.filter}{{background-image:url({strip.plain})}}"
    if strip.active is not None:
        rule += f"\n.on .f{strip.filter}{{background-image:url({strip.active})}}"
    return rule


def _facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("Network", f"{document['model']}, weights {document.get('weights')}"),
        ("Layer", str(document["layer"])),
        ("Head", str(document.get("head") or "")),
        ("Images", ", ".join(f"{count:,} {split}" for split, count in document.get("images", {}).items())),
        *((f"SHA-256, {part}", str(value)) for part, value in document.get("hashes", {}).items()),
    ]
    return [(name, value) for name, value in rows if value] + provenance(document)
