"""Selections: for each class its filters, best first, with scores, plus where they came from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ConfigError, SelectionError
from ..files.atomic import written_whole
from ..files.json import read_object, write_json
from ..files.tables import Table, Tabular
from ..networks.head import Head
from ._numbers import whole_number, whole_numbers
from .budget import check_budget, common_pool
from .form import HeadForm
from .learned_head import (
    check_head,
    form_from_json,
    gather_head,
    head_from_json,
    head_to_json,
    numbers,
    place_head,
)
from .ranking import rank_filters

SCHEMA = "ddeep.selection/1"
MOST_NUMBERS = 2**30  # classes times filters: what a file may claim, and its mask fits in memory


@dataclass(frozen=True, repr=False)
class Selection(Tabular):
    """The filters of every class, best first.

    ``filters[c]`` and ``scores[c]`` belong together; ``absent`` lists the classes without images, which have no filters
    and keep their dense row. ``source`` says where it came from: strategy, k, layer, model, hashes, versions. ``head``
    is the one that the strategy learned along with it: ``head.weight[c, i]`` belongs to the i-th filter of class c.
    ``form`` is that head's.
    """

    filters: tuple[tuple[int, ...], ...]
    scores: tuple[tuple[float, ...], ...]
    num_filters: int
    absent: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    head: Head | None = None
    form: HeadForm = "real"

    @classmethod
    def of(
        cls,
        filters: Iterable[Iterable[int]],
        num_filters: int,
        *,
        scores: Iterable[Iterable[float]] | None = None,
        absent: Iterable[int] = (),
    ) -> Self:
        """Build and check a selection from lists; without scores, every filter scores 0."""
        chosen = tuple(tuple(int(j) for j in row) for row in filters)
        given = tuple(tuple(float(s) for s in row) for row in scores) if scores is not None else None
        made = cls(
            filters=chosen,
            scores=given if given is not None else tuple((0.0,) * len(row) for row in chosen),
            num_filters=num_filters,
            absent=tuple(sorted(absent)),
        )
        made.check()
        return made

    @classmethod
    def top(
        cls,
        scores: Float[Tensor, "c k"],
        k: int,
        *,
        ties: Float[Tensor, "c k"] | None = None,
        present: Bool[Tensor, " c"] | None = None,
        budget: int | None = None,
    ) -> Self:
        """The k best-scored filters of each class; equals go by larger ``ties``, then by the smaller index.

        With a ``budget`` all classes choose from one pool of so many filters: see ``ddeep.selections.budget``.
        """
        classes, filters = scores.shape
        if not 1 <= k <= filters:
            raise ConfigError(f"k = {k} filters per class, but the layer has {filters}. Choose k from 1 to {filters}.")
        if not torch.isfinite(scores).all():
            raise SelectionError("The strategy gave scores that are NaN or infinite; it must score every filter.")
        check_budget(budget, k, filters)
        order = rank_filters(scores, ties)
        if budget is not None and budget < filters:
            pool = common_pool(order if present is None else order[present.cpu()], k, budget)
            order = order.gather(1, pool[order].byte().argsort(dim=1, descending=True, stable=True))
        order = order[:, :k]
        here = present.tolist() if present is not None else [True] * classes
        return cls.of(
            [row if there else [] for row, there in zip(order.tolist(), here, strict=True)],
            filters,
            scores=[r if t else [] for r, t in zip(scores.gather(1, order).tolist(), here, strict=True)],
            absent=[c for c, there in enumerate(here) if not there],
        )

    def check(self, num_classes: int | None = None, num_filters: int | None = None) -> None:
        """Raise SelectionError unless it is whole, and fits a head of these classes and filters."""
        expected = num_classes if num_classes is not None else len(self.filters)
        if len(self.filters) < expected:
            raise SelectionError(
                f"Class {len(self.filters)} is left out: the network has {expected} classes. "
                "Give every class filters, or list it as absent."
            )
        if len(self.filters) > expected:
            raise SelectionError(f"The selection has {len(self.filters)} classes, the network only {expected}.")
        if num_filters is not None and num_filters != self.num_filters:
            raise SelectionError(
                f"The selection is for a layer of {self.num_filters} filters, not of {num_filters}. "
                "Select at this layer, or give the layer that the selection was made for."
            )
        if self.num_filters * expected > MOST_NUMBERS:
            raise SelectionError(f"The selection claims {expected} classes of {self.num_filters} filters: too many.")
        absent = set(self.absent)
        for c, (row, scores) in enumerate(zip(self.filters, self.scores, strict=True)):
            _check_class(c, row, scores, self.num_filters, c in absent)
        if self.head is not None:
            check_head(self.head, self.filters)
        strangers = [c for c in self.absent if not 0 <= c < expected]
        if strangers:
            raise SelectionError(f"Class {strangers[0]} is listed as absent, but the classes are 0 to {expected - 1}.")

    def check_names(self, classes: Sequence[str] | None) -> None:
        """Raise SelectionError where it names its classes, by more than their numbers, and not as ``classes`` does."""
        named = classes is not None and self.classes and self.classes != tuple(map(str, range(len(self.classes))))
        for c, (mine, theirs) in enumerate(zip(self.classes, classes or (), strict=False) if named else ()):
            if mine != theirs:
                raise SelectionError(
                    f"Class {c} is {mine[:60]!r} in the selection, but {theirs!r} in the network. "
                    "Use a selection made for these classes in this order."
                )

    def mask(self, device: torch.device | str = "cpu") -> Bool[Tensor, "c k"]:
        """True where a class uses a filter; all True for absent classes, which keep their dense row."""
        mask = torch.zeros(len(self.filters), self.num_filters, dtype=torch.bool)
        rows = [c for c, row in enumerate(self.filters) for _ in row]
        mask[rows, [j for row in self.filters for j in row]] = True
        mask[list(self.absent)] = True
        return mask.to(device)

    def membership(self) -> Bool[Tensor, "p k"]:
        """The 0/1 membership vectors of the classes that are present."""
        present = sorted(set(range(len(self.filters))) - set(self.absent))
        return self.mask()[present]

    @property
    def size(self) -> int | None:
        """The number of filters that all classes present have; None where it differs."""
        sizes = {len(row) for row in self.filters if row}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def distinct(self) -> int:
        """How many different filters the classes have together."""
        return len({j for row in self.filters for j in row})

    def table(self) -> Table:
        """A row for every class and filter, best first."""
        names = self.classes or tuple(map(str, range(len(self.filters))))
        rows = zip(names, self.filters, self.scores, strict=True)
        cells = [(c, rank, j, s) for c, js, ss in rows for rank, (j, s) in enumerate(zip(js, ss, strict=True), 1)]
        return Table(f"Filters of {len(names)} classes", ("class", "rank", "filter", "score"), cells)

    def named(self, classes: Sequence[str], **source: Any) -> Self:
        """The same selection with class names and provenance."""
        return replace(self, classes=tuple(classes), source={**self.source, **source})

    def with_head(self, weight: Float[Tensor, "c k"], bias: Float[Tensor, " c"], form: HeadForm = "real") -> Self:
        """The same selection with a head learned along with it; weights outside the selection do not count.

        ``form`` is what fine-tuning keeps of it.
        """
        shape = (len(self.filters), self.num_filters)
        if weight.shape != shape or bias.shape != shape[:1]:
            raise SelectionError(
                f"The head's weight is {tuple(weight.shape)} and its bias {tuple(bias.shape)}; the selection has "
                f"{shape[0]} classes and {shape[1]} filters."
            )
        head = gather_head(Head(weight, bias), self.filters)
        check_head(head, self.filters)
        return replace(self, head=head, form=form)

    def learned_head(self, dense: Head) -> Head:
        """The head learned along with it as a dense one; absent classes keep their row of ``dense``.

        Raises SelectionError where none was learned.
        """
        if self.head is None:
            raise SelectionError("The selection has no learned head: its strategy learns none.")
        return place_head(self.head, self.filters, dense)

    def to_json(self) -> dict[str, Any]:
        """The versioned document that ``save`` writes."""
        names = self.classes or tuple(str(c) for c in range(len(self.filters)))
        rows = zip(names, self.filters, self.scores, strict=True)
        return {
            "schema": SCHEMA,
            "num_filters": self.num_filters,
            "absent": list(self.absent),
            "classes": [
                {"index": c, "name": name, "filters": list(filters), "scores": list(scores)}
                for c, (name, filters, scores) in enumerate(rows)
            ],
            **({"head": head_to_json(self.head, self.filters, self.form)} if self.head is not None else {}),
            "source": self.source,
        }

    def save(self, path: Path | str) -> None:
        """Write the selection as JSON, whole or not at all."""
        with written_whole(Path(path)) as temporary:
            write_json(temporary, self.to_json())

    @classmethod
    def load(
        cls,
        path: Path | str,
        num_filters: int | None = None,
        num_classes: int | None = None,
        *,
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Read a selection, or the authors' ``{"0": [filters], …}``, whose order is kept.

        ``num_filters``, ``num_classes`` and the names of ``classes`` say what it must fit. The authors' files name
        neither layer nor classes, and need ``num_filters``.
        """
        document = _read_json(Path(path))
        try:
            made = cls._from_json(document, num_filters)
            made.check(num_classes if classes is None else len(classes), num_filters)
            made.check_names(classes)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SelectionError(f"{path} is not a selection: {type(error).__name__} {error}. {_EXPECTED}") from None
        except SelectionError as error:
            raise SelectionError(f"{path}: {error}") from None
        return made

    @classmethod
    def _from_json(cls, document: dict[str, Any], num_filters: int | None) -> Self:
        if document.get("schema") == SCHEMA:
            rows = sorted(document["classes"], key=lambda row: whole_number(row["index"]))
            _check_complete([row["index"] for row in rows])
            filters = [whole_numbers(row["filters"]) for row in rows]
            return replace(
                cls.of(
                    filters,
                    whole_number(document["num_filters"]),
                    scores=[numbers(row["scores"], "scores") for row in rows],
                    absent=whole_numbers(document["absent"]),
                ),
                classes=tuple(str(row["name"]) for row in rows),
                source=dict(document["source"]),
                head=head_from_json(document["head"], filters) if "head" in document else None,
                form=form_from_json(document.get("head")),
            )
        if "schema" in document:
            found = str(document["schema"])[:60]
            raise SelectionError(f"schema {found!r} is not known here; this ddeep reads {SCHEMA!r}.")
        if not document or not all(key.isdecimal() for key in document):
            raise SelectionError(f"it has none of the expected keys. {_EXPECTED}")
        if num_filters is None:
            raise SelectionError("it does not say how many filters its layer has (num_filters).")
        by_class = {int(key): whole_numbers(row) for key, row in document.items()}
        if len(by_class) < len(document):
            raise SelectionError("it numbers a class twice.")
        _check_complete(by_class)
        return cls.of([by_class[c] for c in range(len(by_class))], num_filters)


_EXPECTED = 'Expected a file that ddeep saved, or {"0": [filters of class 0], "1": […], …} with every class.'


def _check_class(c: int, row: Sequence[int], scores: Sequence[float], limit: int, absent: bool) -> None:
    if absent and row:
        raise SelectionError(f"Class {c} is listed as absent but has filters.")
    if not absent and not row:
        raise SelectionError(f"Class {c} has no filters and is not listed as absent.")
    outside = [j for j in row if not 0 <= j < limit]
    if outside:
        shown = str(outside[0])[:20]
        raise SelectionError(f"Class {c} selects filter {shown}, but the layer's filters are 0 to {limit - 1}.")
    if len(set(row)) != len(row):
        seen: set[int] = set()
        twice = next(j for j in row if j in seen or seen.add(j))  # type: ignore[func-returns-value]
        raise SelectionError(f"Class {c} selects filter {twice} twice.")
    if len(scores) != len(row) or not all(math.isfinite(score) for score in scores):
        raise SelectionError(f"Class {c} needs one finite score for each of its {len(row)} filters.")


def _check_complete(classes: Collection[int]) -> None:
    missing = set(range(len(classes))) - set(classes)
    if missing:
        raise SelectionError(f"class {min(missing)} is left out. {_EXPECTED}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except OSError as error:
        raise SelectionError(f"Cannot read the selection {path}: {error.strerror}.") from None
    except ValueError as error:
        raise SelectionError(f"{path} is not a selection: {error}. {_EXPECTED}") from None
