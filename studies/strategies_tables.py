"""What studies.strategies_page writes: tables with paired tests, where ddeep's own is not ahead, and the figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from ddeep.heads.paired import LEVEL, compare_paired, holm

STAGES = ("decomposed", "learned", "refit")
OURS = "pruned-refit"
_DRAWN = ("pruned-refit", "sldd", "elastic-net", "gram", "contribution", "paper", "random")


@dataclass(frozen=True)
class Results:
    """Which test images each strategy gets right: ``right[subject, stage, k][strategy]``; ``full`` the network does."""

    subjects: Sequence[str]
    ks: Sequence[int]
    right: dict[tuple[str, str, int], dict[str, NDArray[np.bool_]]]
    full: dict[str, NDArray[np.bool_]]
    seconds: dict[tuple[str, str], float]

    def percent(self, subject: str, stage: str, k: int) -> dict[str, float]:
        """Accuracy by strategy."""
        return {name: 100 * float(right.mean()) for name, right in self.right.get((subject, stage, k), {}).items()}

    def alike(self, subject: str, stage: str, k: int) -> dict[str, bool]:
        """Whether each strategy cannot be told from the best: McNemar's exact test, Holm's correction."""
        right = self.right.get((subject, stage, k), {})
        if not right:
            return {}
        best = max(right, key=lambda name: right[name].sum())
        others = [name for name in right if name != best]
        p = holm([compare_paired(_bools(right[name]), _bools(right[best])).p for name in others])
        return {best: True} | {name: one > 1 - LEVEL for name, one in zip(others, p, strict=True)}


def _bools(right: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(right)


def fill(page: str, results: Results) -> str:
    """``page`` with the tables that its comments ``<!-- table NAME -->``, ``<!-- end -->`` ask for in their place."""

    def anew(found: re.Match[str]) -> str:
        kind, *arguments = found[1].split()
        return _TABLES[kind](results, *arguments)

    return re.sub(r"<!-- table ([\w -]+) -->.*?<!-- end -->", anew, page, flags=re.DOTALL)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def accuracies(results: Results, stage: str, k: str) -> str:
    """One row a strategy, one column a network; bold what cannot be told from the best of its column."""
    percent = {subject: results.percent(subject, stage, int(k)) for subject in results.subjects}
    alike = {subject: results.alike(subject, stage, int(k)) for subject in results.subjects}
    names = {name for found in percent.values() for name in found}

    def cell(subject: str, name: str) -> str:
        if name not in percent[subject]:
            return "–"
        shown = f"{percent[subject][name]:.2f}"
        return f"**{shown}**" if alike[subject][name] else shown

    ranked = sorted(names, key=lambda name: (-fmean(percent[s].get(name, 0.0) for s in results.subjects), name))
    rows = [[f"`{name}`", *(cell(subject, name) for subject in results.subjects)] for name in ranked]
    full = [f"{100 * results.full[subject].mean():.2f}" for subject in results.subjects]
    return _table([f"k = {k}", *results.subjects], [["the full network", *full], *rows])


def learned(results: Results) -> str:
    """The heads that strategies learn along with their filters, without any refit."""
    names = sorted({name for (_, stage, _), found in results.right.items() if stage == "learned" for name in found})
    rows = []
    for name in names:
        for subject in results.subjects:
            found = [results.percent(subject, "learned", k).get(name) for k in results.ks]
            if any(one is not None for one in found):
                rows.append([f"`{name}`", subject, *("–" if one is None else f"{one:.2f}" for one in found)])
    return _table(["strategy", "network", *(f"k = {k}" for k in results.ks)], rows)


def standing(results: Results) -> str:
    """How often each strategy cannot be told from the best after the refit, of all networks and k."""
    cells = [(subject, k) for subject in results.subjects for k in results.ks]
    alike = {cell: results.alike(cell[0], "refit", cell[1]) for cell in cells}
    names = sorted({name for found in alike.values() for name in found})
    counted = {
        name: [sum(alike[s, k].get(name, False) for s in results.subjects) for k in results.ks] for name in names
    }
    rows = [
        [f"`{name}`", *map(str, counted[name]), f"{sum(counted[name])} of {sum(name in alike[cell] for cell in cells)}"]
        for name in sorted(names, key=lambda name: -sum(counted[name]))
    ]
    return _table(["strategy", *(f"k = {k}" for k in results.ks), "together"], rows)


def ours(results: Results) -> str:
    """ddeep's own against the best of the others, network by network, k by k; in words where it is not ahead."""
    rows: list[list[str]] = []
    behind: list[str] = []
    tests: list[tuple[str, int, str, float, float, float, float]] = []
    for subject in results.subjects:
        for k in results.ks:
            right = results.right.get((subject, "refit", k), {})
            others = {name: found for name, found in right.items() if name != OURS}
            if OURS not in right or not others:
                continue
            rival = max(others, key=lambda name: others[name].sum())
            pair = compare_paired(_bools(right[OURS]), _bools(others[rival]))
            tests.append((subject, k, rival, pair.difference, pair.low, pair.high, pair.p))
    corrected = holm([test[-1] for test in tests])
    for (subject, k, rival, difference, low, high, _), p in zip(tests, corrected, strict=True):
        verdict = "not told apart" if p > 1 - LEVEL else "ahead" if difference > 0 else "behind"
        rows.append(
            [subject, str(k), f"`{rival}`", f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{p:.2g}", verdict]
        )
        if difference <= 0:
            behind.append(f"{subject} at k = {k} ({difference:+.2f} against `{rival}`)")
    counts = [row[-1] for row in rows]
    ahead, behind_all, alike = (counts.count(word) for word in ("ahead", "behind", "not told apart"))
    said = (
        f"Of {len(rows)} comparisons with the best of all others, `{OURS}` is ahead beyond chance in {ahead}, behind "
        f"beyond chance in {behind_all}, and not told apart in {alike}. "
    )
    said += (
        f"It is not ahead, by the bare figure, at: {'; '.join(behind)}."
        if behind
        else "Its bare figure is ahead in all."
    )
    head = ["network", "k", "best other", "points", "95 %", "p, Holm", ""]
    return f"{said}\n\n{_table(head, rows)}"


def seconds(results: Results) -> str:
    """What selecting took, all k together."""
    names = sorted(
        {name for _, name in results.seconds}, key=lambda n: -max(v for (_, m), v in results.seconds.items() if m == n)
    )
    slow = [name for name in names if max(v for (_, m), v in results.seconds.items() if m == name) >= 1]
    rows = [
        [
            f"`{name}`",
            *(f"{results.seconds[s, name]:.1f}" if (s, name) in results.seconds else "–" for s in results.subjects),
        ]
        for name in slow
    ]
    return _table(["seconds", *results.subjects], rows)


_TABLES = {"accuracies": accuracies, "learned": learned, "standing": standing, "ours": ours, "seconds": seconds}


def draw(results: Results, path: Path) -> None:
    """Accuracy after the refit against k, a panel for each network."""
    from matplotlib.figure import Figure

    from ddeep.reports.style import GREY, MARKERS, SERIES, style

    with style():
        figure = Figure(figsize=(3.0 * len(results.subjects), 3.4), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(results.subjects)))
        for axes, subject in zip(panels, results.subjects, strict=True):
            axes.axhline(100 * results.full[subject].mean(), color=GREY, linestyle=":", label="the full network")
            for name, colour, marker in zip(_DRAWN, SERIES, MARKERS, strict=True):
                points = [(k, results.percent(subject, "refit", k).get(name)) for k in results.ks]
                shown = [(k, value) for k, value in points if value is not None]
                if shown:
                    axes.plot(*zip(*shown, strict=True), color=colour, marker=marker, markersize=4, label=name)
            axes.set_xscale("log")
            axes.set_xticks(results.ks, [str(k) for k in results.ks])
            axes.minorticks_off()
            axes.set_title(subject)
            axes.set_xlabel("filters per class, k")
            lowest = [min(found.values()) for k in results.ks if (found := _without_random(results, subject, k))]
            axes.set_ylim(bottom=min(lowest) - 1 if lowest else None)
        panels[0].set_ylabel("% right after the refit")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        figure.savefig(path, dpi=150, facecolor="white")


def _without_random(results: Results, subject: str, k: int) -> dict[str, float]:
    found = results.percent(subject, "refit", k)
    return {name: found[name] for name in _DRAWN if name in found and name != "random"}
