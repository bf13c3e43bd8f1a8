"""The page of a run."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from ..experiments.own import LOADERS
from ..experiments.settings import RunConfig
from ..registry.registry import registry
from ..registry.specs import StrategySpec
from .findings import Findings
from .glossary import TERMS, metric_key, metric_terms, score_term
from .metrics import metric_rows
from .page import call, command, finetune_call, finetune_command, provenance, render
from .proof import FEW_IMAGES, prove
from .run_data import page_data
from .style import Plot, inline_svg
from .verdict import p_text, sentence
from .views import class_rows, confusions, null_chart, strip

STYLES = ("run/page.css", "run/views.css", "run/switch.css")
_PARTS = (
    *("base", "data", "names", "tiles", "charts", "gallery", "class", "filter"),
    *("head", "switch", "explained", "map", "overview", "mistakes", "served", "main"),
)  # fmt: skip
SCRIPTS = (*(f"run/{part}.js" for part in _PARTS), "report.js")


def run_page(found: Findings, plots: list[Plot], *, served: bool = False) -> str:
    """The whole page as text; a ``served`` one asks its server about images that are dropped on it."""
    document, measured = found.document, found.measured
    seed = int((document.get("config") or {}).get("seed") or 0)
    proof = prove(found, seed)
    strategy = _strategy(document)
    data = page_data(found, seed) | {"served": served, "scored": _scored(found, strategy)}
    return render(
        "run.html.jinja",
        styles=STYLES,
        scripts=SCRIPTS,
        served=served,
        data=_embedded(data),
        run=document,
        found=found,
        names=found.classes,
        command=_commands(document),
        sentence=sentence(found, proof),
        strip=strip(found, proof),
        proof=proof,
        few=FEW_IMAGES,
        null=null_chart(found, proof),
        p_text=p_text,
        confusions=confusions(found),
        rows=class_rows(found),
        switch="switch" in data and bool(data["switch"]["heads"]),
        changes="changes" in data,
        mapped="map" in data,
        pictured="pictures" in data,
        plots={plot.name.replace("-", "_"): Markup(inline_svg(plot)) for plot in plots},
        depth=measured.depth if measured is not None else [],
        metrics=metric_rows(document),
        metric_key=metric_key,
        terms=TERMS | metric_terms(registry().metrics.unambiguous()) | {"score": score_term(document, strategy)},
        facts=_facts(document, data.get("pictures", {}).get("behind", "")),
    )


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON that ends no script element, whatever names it holds."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _strategy(document: dict[str, Any]) -> StrategySpec | None:
    """The run's; None where it is not installed here, or the selection was given."""
    named = str(document.get("strategy") or "").partition(":")[0]
    return {spec.name: spec for spec in registry().strategies.unambiguous()}.get(named)


def _scored(found: Findings, strategy: StrategySpec | None) -> list[int] | None:
    """How many images of each class the scores have counted; None where they count none, or nobody knows."""
    if strategy is None or not strategy.counts_images or found.measured is None:
        return None
    whole = all(float(score).is_integer() for scores in found.selection.scores for score in scores)
    return found.measured.train.class_counts.tolist() if whole else None


def _commands(document: dict[str, Any]) -> str:
    """What makes the run again, and its fine-tuning where that was a command of its own."""
    config = document.get("config") or {}
    if document.get("dataset") == LOADERS:
        tuned = finetune_call(document)
        return f"result = {call('run', RunConfig, config)}" + (f"; {tuned}" if tuned else "")
    run, more = command("run", RunConfig, config), finetune_command(document)
    return run if not more or config.get("finetune") else f"{run} --out RUN && {more}"


def _facts(document: dict[str, Any], behind: str) -> list[tuple[str, str]]:
    rows = [
        ("Network", f"{document['model']}, weights {document.get('weights')}"),
        ("Layer", str(document["layer"])),
        ("Maps", behind),
        ("Head", str(document.get("head") or "")),
        ("Images", ", ".join(f"{count:,} {split}" for split, count in document.get("images", {}).items())),
        ("Prepared", _recipe(document)),
        *((f"SHA-256, {part}", str(value)) for part, value in document.get("hashes", {}).items()),
    ]
    return [(name, value) for name, value in rows if value] + provenance(document)


def _recipe(document: dict[str, Any]) -> str:
    recipe = document.get("preprocessing")
    if not isinstance(recipe, dict):
        return ""
    return ", ".join(f"{name} {_value(value)}" for name, value in recipe.items())


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
