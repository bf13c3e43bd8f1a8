"""Reference pages of what there is to choose from, from the registry: summary, source, flags, cost, formula."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

from ddeep.registry.registry import registry
from ddeep.registry.specs import MetricSpec, ModelFamily, ModelSpec, Spec, StrategySpec, resolve
from ddeep.results.comparison_table import COLUMNS
from ddeep.statistics.statistic import Statistic
from studies.paths import ROOT
from website.interface import cell

KINDS = ("strategies", "metrics", "regularizers", "models", "datasets", "executions")
SIZES = ((10, 64), (1000, 2048))  # classes and filters that costs are given for
_INTRODUCTIONS = {
    "strategies": "What `--strategy` and `--strategies` take. Each gives every class and filter a score. All that a "
    "command names share one pass over the images; *memory* is what a strategy's statistics take in that pass with k = "
    "5, for that many classes × filters.",
    "metrics": "What `--metrics` takes: figures of a layer or of a selection.",
    "regularizers": "What `--regularizer` of `ddeep train` and `ddeep finetune` takes: terms of the loss.",
    "models": "What `--model` takes, beside a network of [your own](../bring-your-own.md).",
    "datasets": "What `--dataset` takes.",
    "executions": "What `--execution` takes: what runs the passes over the images.",
}
_FLAGS = {
    "gradients": "a backward pass for every batch",
    "learned": "fits on the kept train responses",
    "reruns": "runs the network over the test split again",
    "responses": "reads kept responses",
}


def pages() -> dict[str, str]:
    """A page for each kind of what comes with ddeep."""
    made = {kind: _page(kind) for kind in KINDS} | {"columns": _columns()}
    return {f"reference/{name}.md": "\n".join(lines) + "\n" for name, lines in made.items()}


def _columns() -> Iterator[str]:
    yield "# Columns of a comparison"
    yield ""
    yield (
        "What `ddeep compare` tells of every strategy, k and budget: in the terminal what matters most, with `--wide` "
        "and in Python all of it, and a column for every [metric](metrics.md) beside. `comparison.csv` has the fields, "
        "intervals as two."
    )
    yield from ("", "| column | field | |", "|---|---|---|")
    for column in COLUMNS:
        if column.meaning:
            yield f"| {column.title} | `{column.field}` | {cell(column.meaning)} |"


def _page(kind: str) -> Iterator[str]:
    catalog = registry().catalog(kind)
    own = [catalog[name] for name in catalog if catalog.provider(name).startswith("ddeep:")]
    formulas = _entries(kind.capitalize())
    yield f"# {kind.capitalize()}"
    yield ""
    more = f"`ddeep list {kind}` shows those of other packages, too; [how to add one](../plugins.md)."
    yield f"{_INTRODUCTIONS[kind]} {more}"
    yield ""
    if any(_cost(spec) for spec in own):
        heads = [f"memory, {classes:,} × {filters:,}" for classes, filters in SIZES]
        yield f"| name | | beside the pass | {' | '.join(heads)} |"
        yield "|---|---|---|---:|---:|"
        for spec in own:
            yield f"| [`{spec.name}`](#{spec.name}) | {cell(spec.summary)} | {' | '.join(_cost(spec))} |"
    else:
        yield "| name | |"
        yield "|---|---|"
        for spec in own:
            yield f"| [`{spec.name}`](#{spec.name}) | {cell(spec.summary)} |"
    for spec in own:
        yield from _entry(spec, formulas.get(spec.name, ""))


def _entry(spec: Spec, formula: str) -> Iterator[str]:
    yield from ("", f"## `{spec.name}` {{ #{spec.name} }}", "", f"{spec.summary[:1].upper()}{spec.summary[1:]}.")
    if spec.source:
        yield from ("", f"**Source**: {spec.source}")
    if facts := list(_facts(spec)):
        yield from ("", " · ".join(facts))
    if formula:
        yield from ("", formula)


def _facts(spec: Spec) -> Iterator[str]:
    """What the spec says besides, where that is not the usual."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name in {other.name for other in fields(Spec)} | {"weights"} or value == field.default:
            continue
        if value is True:
            yield f"`{field.name}`"
        elif isinstance(value, (int, float)) or (isinstance(value, str) and ":" not in value):
            yield f"{field.name} `{value}`"
        elif isinstance(value, (tuple, dict)) and value:
            shown = value if isinstance(value, tuple) else [f"{name}={number}" for name, number in value.items()]
            yield f"{field.name} {', '.join(f'`{item}`' for item in shown)}"
    if isinstance(spec, ModelSpec):
        for weights in spec.weights:
            yield f"weights `{weights.name}` for {weights.dataset}, {weights.size} × {weights.size} pixels"
    if isinstance(spec, ModelFamily):
        yield f"for instance `{spec.name}/{sorted(resolve(spec.names)())[0]}`"


def _cost(spec: Spec) -> list[str]:
    """What the spec takes beside a pass over the images, and the bytes of its statistics at each of SIZES."""
    if not isinstance(spec, (StrategySpec, MetricSpec)):
        return []
    beside = [text for flag, text in _FLAGS.items() if getattr(spec, flag, False)]
    return [", ".join(beside), *(_bytes(sum(s.nbytes(*size) for s in _statistics(spec))) for size in SIZES)]


def _statistics(spec: StrategySpec | MetricSpec) -> set[Statistic]:
    """All that must be gathered, what its statistics wait for included."""
    if spec.needs is None:
        return set()
    needs = resolve(spec.needs)
    if isinstance(spec, StrategySpec):
        asked = list(needs([5]))
    else:
        option = {} if spec.option is None else {"option": spec.option}
        more = ([5],) if spec.per_k else ()
        asked = [statistic for split in ("train", "test") for statistic in needs(split, *more, **option)]
    found: set[Statistic] = set()
    while asked:
        statistic = asked.pop()
        found.add(statistic)
        asked += statistic.after()
    return found


def _bytes(number: float) -> str:
    if not number:
        return "none"
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _entries(section: str) -> dict[str, str]:
    """The definitions of a section of docs/mathematics.md by name, their links as seen from a folder of the site."""
    text = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### `(.+)`$", body, flags=re.MULTILINE)[1:]
    entries = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: re.sub(r"\]\(#", "](../mathematics.md#", entry).strip() for name, entry in entries.items()}
