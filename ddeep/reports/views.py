"""Findings as the page shows them: rows, cells and texts, nothing left to compute in the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .findings import Findings, Measured
from .heat import Heat, heat_table, number, shade

MOST_CELLS = 12_000  # of a heat map; larger ones show the classes that lose most
MOST_COLUMNS = 20  # classes in a knockout table; of more, the most affected ones are listed
MOST_CHANGES = 12


@dataclass(frozen=True)
class FilterView:
    """A filter of a class's selection. ``tiles`` are (index in the strip, class, response, image)."""

    index: int
    rank: int
    score: str
    contribution: str
    share: str
    width: float
    others: tuple[int, ...]
    tiles: tuple[tuple[int, str, str, int], ...]
    affected: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class ClassView:
    """A class's section."""

    index: int
    name: str
    images: int
    accuracies: tuple[tuple[str, str], ...]
    drop: float | None
    drop_text: str
    own: str
    rest: str
    logit: str
    filters: tuple[FilterView, ...]
    mistaken: tuple[tuple[int, int, int], ...]
    knockout: Heat | None


def filter_order(found: Findings, selected_only: bool = False) -> list[int]:
    """Filters by the first class that selects them, best first; then, by number, those that no class selects."""
    chosen = list(dict.fromkeys(j for filters in found.selection.filters for j in filters))
    rest = sorted(set(range(found.selection.num_filters)) - set(chosen))
    return chosen if selected_only else chosen + rest


def shared_filters(found: Findings) -> list[tuple[int, list[int]]]:
    """Filters that several classes have selected, with these classes; the most shared first."""
    shared = [(j, classes) for j, classes in found.users().items() if len(classes) > 1]
    return sorted(shared, key=lambda pair: (-len(pair[1]), pair[0]))


def shown_classes(found: Findings) -> tuple[list[int], list[int]]:
    """Rows and columns of the class × filter heat map: all there are, or as many as a page can hold."""
    classes = [c for c, filters in enumerate(found.selection.filters) if filters]
    order = filter_order(found)
    if len(classes) * len(order) <= MOST_CELLS:
        return classes, order
    by_drop = sorted(classes, key=lambda c: -(found.drop(c) or 0.0))
    rows: list[int] = []
    columns: set[int] = set()
    for c in by_drop:
        wider = columns | set(found.selection.filters[c])
        if rows and (len(rows) + 1) * len(wider) > MOST_CELLS:
            break
        rows, columns = [*rows, c], wider
    rows.sort()
    return rows, list(dict.fromkeys(j for c in rows for j in found.selection.filters[c]))


def matrices(found: Findings) -> list[Heat]:
    """The class × filter heat maps: what there is of contribution, response and knockout; else the scores."""
    rows, columns = shown_classes(found)
    marked = {(c, j) for c in rows for j in found.selection.filters[c]}
    measured = found.measured
    if measured is None:
        scores = torch.full((len(found.classes), found.selection.num_filters), torch.nan, dtype=torch.float64)
        for c, (filters, values) in enumerate(zip(found.selection.filters, found.selection.scores, strict=True)):
            scores[c, list(filters)] = torch.tensor(values, dtype=torch.float64)
        return [heat_table("score", "Score by the strategy", scores, rows, columns, marked=marked)]
    tables = []
    if measured.contributions is not None and measured.knockout is not None:
        title = "Mean contribution W·r to the class’s own logit"
        tables.append(heat_table("contribution", title, measured.contributions, rows, columns, marked=marked))
        title = "Change of the class’s accuracy when the filter is silenced, points"
        tables.append(
            heat_table("knockout", title, measured.knockout, rows, columns, digits=1, marked=marked, plus=True)
        )
    tables.append(heat_table("response", "Mean response", measured.means, rows, columns, marked=marked))
    return tables


def confusions(found: Findings) -> list[Heat]:
    """Confusion matrices before and after, and their difference; for many classes none (see ``changes``)."""
    measured = found.measured
    if measured is None or found.final not in measured.confusions or len(found.classes) > MOST_COLUMNS:
        return []
    classes = range(len(found.classes))
    before, after = measured.confusions["full"], measured.confusions[found.final]
    tables = [heat_table("full", "Full network", before.double(), classes, classes, digits=0, root=True)]
    if found.final != "full":
        title = found.final.capitalize()
        tables.append(heat_table("after", title, after.double(), classes, classes, digits=0, root=True))
        change = (after - before).double()
        tables.append(heat_table("change", f"{title} − full", change, classes, classes, digits=0, plus=True, root=True))
    return tables


def changes(found: Findings) -> list[tuple[int, int, int, int, str]]:
    """The confusions that changed most: (true, predicted, before, after, change), mistakes only."""
    measured = found.measured
    if measured is None or found.final not in measured.confusions:
        return []
    before, after = measured.confusions["full"], measured.confusions[found.final]
    change = (after - before).fill_diagonal_(0)
    order = change.abs().flatten().argsort(descending=True, stable=True)[:MOST_CHANGES].tolist()
    pairs = [divmod(place, len(change)) for place in order]
    return [
        (c, p, int(before[c, p]), int(after[c, p]), number(float(change[c, p]), 0, plus=True))
        for c, p in pairs
        if change[c, p] != 0
    ]


def class_views(found: Findings, labels: Tensor | None) -> list[ClassView]:
    """A section for every class that has filters. ``labels`` are the train images' classes."""
    users = found.users()
    return [_class_view(found, c, users, labels) for c, filters in enumerate(found.selection.filters) if filters]


def _class_view(found: Findings, c: int, users: dict[int, list[int]], labels: Tensor | None) -> ClassView:
    row, measured = found.document["per_class"][c], found.measured
    filters, scores = found.selection.filters[c], found.selection.scores[c]
    contributions = measured.contributions[c] if measured is not None and measured.contributions is not None else None
    widest = float(contributions[list(filters)].abs().max()) if contributions is not None else 0.0
    views = tuple(
        _filter_view(found, c, j, rank, score, users, labels, widest)
        for rank, (j, score) in enumerate(zip(filters, scores, strict=True), 1)
    )
    whole = float(contributions.sum()) if contributions is not None else None
    own = float(contributions[list(filters)].sum()) if contributions is not None else None
    drop = found.drop(c)
    return ClassView(
        index=c,
        name=found.classes[c],
        images=int(row["images"]),
        accuracies=tuple((stage, number(row[stage], 1)) for stage in found.stages),
        drop=drop,
        drop_text=number(None if drop is None else -drop, 1, plus=True),
        own=number(own),
        rest=number(None if whole is None or own is None else whole - own),
        logit=number(whole),
        filters=views,
        mistaken=_mistaken(measured, found.final, c),
        knockout=_knockout(measured, c, filters),
    )


def _filter_view(
    found: Findings,
    c: int,
    j: int,
    rank: int,
    score: float,
    users: dict[int, list[int]],
    labels: Tensor | None,
    widest: float,
) -> FilterView:
    measured = found.measured
    contribution = share = None
    tiles: list[tuple[int, str, str, int]] = []
    affected: list[tuple[int, str, str]] = []
    if measured is not None:
        if measured.contributions is not None and measured.shares is not None:
            contribution, share = float(measured.contributions[c, j]), float(measured.shares[c, j])
        tiles = _tiles(found, measured, j, labels)
        affected = _affected(measured, j)
    return FilterView(
        index=j,
        rank=rank,
        score=number(score, 0 if float(score).is_integer() else 3),
        contribution=number(contribution),
        share=number(None if share is None else 100 * share, 1),
        width=0.0 if not contribution or not widest else contribution / widest,
        others=tuple(other for other in users[j] if other != c),
        tiles=tuple(tiles),
        affected=tuple(affected),
    )


def _tiles(found: Findings, measured: Measured, j: int, labels: Tensor | None) -> list[tuple[int, str, str, int]]:
    if labels is None:
        return []
    indices, responses = measured.top.indices[j].tolist(), measured.top.responses[j].tolist()
    return [
        (place, found.classes[int(labels[index])], number(response), index)
        for place, (index, response) in enumerate(zip(indices, responses, strict=True))
        if index >= 0
    ]


def _affected(measured: Measured, j: int) -> list[tuple[int, str, str]]:
    """Of many classes those whose accuracy changes most without filter ``j``: (class, change, shade)."""
    if measured.knockout is None or len(measured.knockout) <= MOST_COLUMNS:
        return []
    change = torch.nan_to_num(measured.knockout[:, j])
    order = change.abs().argsort(descending=True, stable=True)[:8].tolist()
    largest = float(change.abs().max())
    return [(c, number(float(change[c]), 1, True), shade(float(change[c]), largest)) for c in order if change[c] != 0]


def _knockout(measured: Measured | None, c: int, filters: Sequence[int]) -> Heat | None:
    if measured is None or measured.knockout is None or len(measured.knockout) > MOST_COLUMNS:
        return None
    classes = range(len(measured.knockout))
    largest = float(torch.nan_to_num(measured.knockout).abs().max())  # of all filters: colours compare across classes
    own = {(j, c) for j in filters}
    table = measured.knockout.T
    return heat_table(
        f"knockout-{c}", "", table, filters, classes, digits=1, largest=largest, marked=own, root=True, plus=True
    )


def _mistaken(measured: Measured | None, final: str, c: int, most: int = 3) -> tuple[tuple[int, int, int], ...]:
    """What the class is most often mistaken for: (class, before, after)."""
    if measured is None or final not in measured.confusions:
        return ()
    before, after = measured.confusions["full"][c].clone(), measured.confusions[final][c].clone()
    before[c] = after[c] = 0
    order = (before + after).argsort(descending=True, stable=True)[:most].tolist()
    return tuple((p, int(before[p]), int(after[p])) for p in order if before[p] + after[p] > 0)
