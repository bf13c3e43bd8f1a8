"""A comparison in a sentence for each layer of each checkpoint, and the k that the sentence is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..selections.k import K

Row = dict[str, Any]
SAME = 0.05  # above this (Holm-corrected) no difference can be told


@dataclass(frozen=True)
class Place:
    """One layer of one checkpoint with one budget, if any: its rows that have an accuracy, random selections by k."""

    network: dict[str, Any]
    layer: str
    filters: int
    budget: int | None
    rows: tuple[Row, ...]
    null: dict[K, dict[str, Any]]

    @property
    def name(self) -> str:
        """What tells it from the others."""
        limit = "" if self.budget is None else f", budget {self.budget}"
        return f"{self.network['weights']}, layer {self.layer}{limit}"

    @property
    def ks(self) -> list[K]:
        """Every k that has rows, in their order."""
        return list(dict.fromkeys(row["k"] for row in self.rows))

    def at(self, k: K) -> list[Row]:
        """The rows of one k, the most accurate first."""
        return sorted((row for row in self.rows if row["k"] == k), key=lambda row: -accuracy(row))

    @property
    def chosen_k(self) -> K:
        """The smallest k whose best cannot be told from the full network; without one, the most accurate k."""
        enough = [k for k in self.ks if (self.at(k)[0].get("full_p_holm") or 0.0) > SAME]
        return min(enough) if enough else max(self.ks, key=lambda k: accuracy(self.at(k)[0]))


def accuracy(row: Row) -> float:
    """What rows are ranked by: the accuracy after a refit, or else the decomposed one."""
    found: float = row["decomposed"] if row["refit"] is None else row["refit"]
    return found


def places_of(document: dict[str, Any]) -> Iterator[Place]:
    """The places at which there are accuracies: layers that feed the head, with each budget."""
    for network in document["networks"]:
        for layer in network["layers"]:
            here = (network["weights"], layer["layer"])
            judged = [row for row in document["rows"] if (row["weights"], row["layer"]) == here]
            judged = [row for row in judged if row["decomposed"] is not None]
            drawn = [null for null in document["null"] if (null["weights"], null["layer"]) == here]
            drawn = [null for null in drawn if not isinstance(null["filters_per_class"], list)]
            for budget in dict.fromkeys(row.get("budget") for row in judged):
                rows = tuple(row for row in judged if row.get("budget") == budget)
                null = {one["filters_per_class"]: one for one in drawn if one.get("budget") == budget}
                yield Place(network, layer["layer"], layer["filters"], budget, rows, null)


def sentences(document: dict[str, Any]) -> list[str]:
    """What the comparison has found, without naming a winner where there is none."""
    places = list(places_of(document))
    if not places:
        return ["No layer compared feeds the head, so there are no accuracies: only how much the strategies agree."]
    return [
        f"{place.name}: {found}" if len(places) > 1 else found
        for place in places
        for found in [sentence(place, place.chosen_k)]
    ]


def sentence(place: Place, k: K) -> str:
    """What was found with one k at one place."""
    best, *others = place.at(k)
    low, high = best["decomposed_interval" if best["refit"] is None else "refit_interval"]
    when = "by their filters alone" if best["refit"] is None else "after a refit"
    images = place.network["images"].get("test")
    of = f" of {images:,} test images" if images else ""
    return (
        f"With {_filters(k, place.filters)}, {_standing(best, others)} {when}: it reaches "
        f"{accuracy(best):.2f} %{of} (95 % interval {low:.2f} to {high:.2f}), the full network "
        f"{place.network['full']:.2f} %{_against_full(best)}{_chance(place, k, best)}."
    )


def _filters(k: K, of: int) -> str:
    return f"k = {k:g} of {of} filters a class" if k >= 1 else f"a fraction k = {k:g} of {of} filters"


def _standing(best: Row, others: list[Row]) -> str:
    """Whether the best is alone."""
    alike = [row for row in others if row.get("best_alike")]
    if not others:
        return f"{best['strategy']} was judged"
    if best.get("best_alike") is None:
        return f"{best['strategy']} is the most accurate of {len(others) + 1} strategies"
    if not alike:
        return f"{best['strategy']} is more accurate than {'each of' if len(others) > 1 else 'the'} {_others(others)}"
    told = "any other" if len(alike) == len(others) else f"{len(alike)} of the others"
    return f"the most accurate of {len(others) + 1} strategies, {best['strategy']}, cannot be told from {told}"


def _others(rows: list[Row]) -> str:
    return f"{len(rows)} others" if len(rows) > 1 else "other"


def _against_full(best: Row) -> str:
    p = best.get("full_p_holm")
    if p is None:
        return ""
    if p > SAME:
        return " (no difference can be told)"
    return f" ({best['full_difference']:+.2f} points, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"


def _chance(place: Place, k: K, best: Row) -> str:
    """What random selections of the same size reach, at the same stage."""
    null = place.null.get(k)
    if null is None:
        return ""
    drawn = null.get("refit") if best["refit"] is not None else null.get("decomposed")
    return f"; random filters {sum(drawn) / len(drawn):.2f} %, the mean of {len(drawn)} draws" if drawn else ""
