"""The pictures of pages whose figures stand in a table, drawn from that table; and what decomposing does to a head.

    python -m studies.pictures            # all of them, into docs/
    python -m studies.pictures NAME ...   # some of them

A picture keeps the digest of what it was drawn from, which a test compares with the page.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from safetensors.torch import load_file

import ddeep
from ddeep.files.atomic import written_whole
from ddeep.reports.style import BLUE, DIFFERENCES, GREY, INK, MARKERS, ORANGE, SERIES, grid, style
from studies.paths import ROOT

DOCS = ROOT / "docs"
WIDTH = 8.0  # inches
DOTS = 150  # an inch
WEIGHTS = ROOT / "ddeep_plugins_builtin" / "weights" / "resnet20-digits.safetensors"
KEY = "Source"  # of the digest, among a PNG's texts

Rows = list[list[str]]


def table(page: str, begins: str) -> Rows:
    """The rows of ``page``'s table whose head begins so, without emphasis and code marks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n| {begins} |")
    if not found:
        raise ValueError(f"{page} has no table that begins with {begins!r}: has its head changed?")
    lines = f"| {begins} |{rest}".partition("\n\n")[0].splitlines()
    return [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def costs(rows: Rows) -> Figure:
    """Every ratio that has a goal: what is added, and what is saved."""
    ratios = []
    for _, name, measured, goal, _ in rows[1:]:
        number, way, asked = re.match(r"[\d.]+", measured), goal[:1], re.fullmatch(r". ([\d.]+)", goal)
        if number and asked and " / " in name and not re.search(r"\d s\b|GB|MB", measured):
            value, limit = float(number[0]), float(asked[1])
            inverse = way == "≤" and limit < 1  # a share of the memory: shown as how many times less
            ratios.append((name, 1 / value if inverse else value, 1 / limit if inverse else limit, way, inverse))
    added = [row for row in ratios if row[3] == "≤" and not row[4]]
    saved = [row for row in ratios if row[3] == "≥" or row[4]]
    figure = Figure(figsize=(WIDTH, 0.19 * len(ratios) + 1.1), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(len(added), len(saved)))
    _bars(above, added, BLUE, "Time added (the tick: the most)")
    _bars(below, saved, ORANGE, "Times as fast or as small (the tick: the least)")
    return figure


def _bars(axes: Axes, ratios: list[tuple[str, float, float, str, bool]], colour: str, title: str) -> None:
    places = range(len(ratios))
    names = [re.sub(r"memory of (ddeep \w+) / (\w+)", r"memory of \2 / \1", name) for name, *_ in ratios]
    axes.barh(places, [value - 1 for _, value, *_ in ratios], left=1, height=0.55, color=colour)
    for place, (_, _, limit, _, _) in enumerate(ratios):
        axes.plot([limit, limit], [place - 0.4, place + 0.4], color=INK, linewidth=1.2)
    axes.axvline(1, color=GREY, linewidth=0.8)
    # The figure beside its name: beside the tick it would be taken for the goal.
    axes.set_yticks(places, [f"{name}:  {row[1]:.3g}" for name, row in zip(names, ratios, strict=True)])
    axes.invert_yaxis()
    low, high = min(value for _, value, *_ in ratios), max(max(value, limit) for _, value, limit, *_ in ratios)
    axes.set_xlim(min(1.0, low) - 0.04 * (high - low), high + 0.04 * (high - low))
    axes.set_title(title)
    grid(axes, "x")


def reproduction(rows: Rows) -> Figure:
    """Accuracy against filters per class: the authors' figures, and ddeep's on top of them."""
    ks = [float(k) for k in rows[0][1:]]
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    looks = [
        {"color": INK, "marker": "o", "markersize": 10, "fillstyle": "none", "linestyle": "none"},
        {"color": ORANGE, "marker": "s"},
        {"color": BLUE, "marker": "^"},
    ]
    for row, look in zip(rows[1:], looks, strict=True):
        axes.plot(ks, [float(cell) for cell in row[1:]], label=row[0].removesuffix(" %"), **look)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ks))
    axes.xaxis.set_major_formatter(FixedFormatter(rows[0][1:]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="k, filters per class", ylabel="% of the test split")
    axes.legend(loc="lower right")
    grid(axes, "y")
    return figure


def forms(rows: Rows) -> Figure:
    """What simpler heads cost against real weights, in points."""
    names = rows[0][2:]
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows[1:]):
        values = [float(cell) for cell in row[2:]]
        network = row[0] if row[0] != "the same" else rows[1][0]
        said = f"{network.partition(',')[0]}, {' '.join(row[1].replace('--strategy ', '').split()[:3])}"
        lost = [value - values[0] for value in values]
        axes.plot(lost, color=SERIES[place], marker=MARKERS[place], label=said.replace("--k ", "k = "))
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="points against real weights")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.legend(loc="lower left")
    grid(axes, "y")
    return figure


def cuts(rows: Rows) -> Figure:
    """Points lost against the whole network by networks whose filters were chosen in different ways."""
    column = rows[0].index("against the whole network")
    named = [row[0].replace("`", "").replace(" (taylor)", "") for row in rows[1:]]
    lost = [[float(number) for number in re.findall(r"[\d.]+", row[column])] for row in rows[1:]]  # all are losses
    figure = Figure(figsize=(WIDTH, 1.9), layout="constrained")
    axes = figure.subplots()
    for place, (middle, most, least) in enumerate(lost):
        axes.plot([-most, -least], [place, place], color=SERIES[place], linewidth=2)
        axes.plot(-middle, place, color=SERIES[place], marker=MARKERS[place])
    axes.set_yticks(range(len(named)), named)
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel("points against the whole network, 95 % interval")
    grid(axes, "x")
    return figure


def head(_: Rows) -> Figure:
    """The weights of a head: all of them, those of five filters a class, and these after the refit."""
    run = ddeep.run(model="resnet20", strategy="paper", k=5)
    dense, mask = load_file(WEIGHTS)["linear.weight"], run.selection.mask()
    assert run.model is not None
    refitted = run.model.get_submodule("linear").weight.detach() * mask
    shown = {
        f"The network's head: every class weighs all {mask.shape[1]} filters": dense,
        "Decomposed: each class weighs the five filters that are its own": dense * mask,
        "Refit: those fifty weights and ten biases fitted anew": refitted,
    }
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    for axes, (title, weights) in zip(figure.subplots(len(shown), 1, sharex=True), shown.items(), strict=True):
        most = weights.abs().max().item()
        axes.imshow(weights, cmap=DIFFERENCES, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axes.set_title(title)
        axes.set_yticks(range(len(weights)))
        axes.set_ylabel("class")
    axes.set_xlabel("filter")
    return figure


# Each picture: how it is drawn, and from which table: its page, and how its head begins.
PICTURES: dict[str, tuple[Callable[[Rows], Figure], tuple[str, str] | None]] = {
    "performance": (costs, ("performance.md", "benchmark")),
    "reproduction": (reproduction, ("reproduction.md", "k | 2")),
    "head-forms": (forms, ("heads.md", "network, data | selection | `real`")),
    "cuts": (cuts, ("export.md", "five classes: filters chosen by")),
    "decomposed-head": (head, None),
}


def rows_of(name: str) -> Rows:
    """The rows that a picture is drawn from."""
    source = PICTURES[name][1]
    return table(*source) if source else []


def digest(name: str) -> str:
    """What tells whether a picture is of what is there now: its table, or the packaged weights."""
    content = str(rows_of(name)).encode() if PICTURES[name][1] else WEIGHTS.read_bytes()
    return hashlib.sha256(content).hexdigest()


def main(names: list[str]) -> None:
    """Draw the pictures of these names, by default all."""
    for name in names or PICTURES:
        with style(), written_whole(DOCS / f"{name}.png") as temporary:
            figure = PICTURES[name][0](rows_of(name))
            texts = {"Software": "ddeep", KEY: digest(name)}
            figure.savefig(temporary, format="png", dpi=DOTS, facecolor="white", metadata=texts)


if __name__ == "__main__":
    main(sys.argv[1:])
