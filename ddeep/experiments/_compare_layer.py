"""One layer's comparison: every strategy with every k, judged from the same cached responses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch

from ..errors import DdeepError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..provenance import Timings
from ..registry.specs import MetricSpec, StrategySpec
from ..selections.agreement import jaccard, rank_agreement
from ..selections.budget import check_budget
from ..selections.form import HeadForm
from ..selections.k import K
from ..selections.measure import SplitEvidence, headline, measure_each
from ..selections.select import Answer, check_k, choice, needed, score
from ..selections.selection import Selection
from ..statistics.statistic import Statistic
from ._judge import Judge
from ._standing import STANDING

Budgets: TypeAlias = Sequence[int | None]


@dataclass(frozen=True)
class Candidate:
    """A strategy, and those k that it can take at the layer."""

    spec: StrategySpec
    ks: list[K]


@dataclass
class Skipped:
    """What cannot be compared, and why; where nothing may be skipped (``tolerant`` is False) the reason is raised."""

    tolerant: bool
    reasons: dict[tuple[str, str], list[K]] = field(default_factory=dict)

    @contextmanager
    def unless(self, strategy: str, ks: Sequence[K]) -> Iterator[None]:
        """Note ``strategy`` with ``ks`` as skipped if the block fails. Strangers' code may fail in any way."""
        try:
            yield
        except Exception as error:
            if not self.tolerant:
                raise
            reason = str(error) if isinstance(error, DdeepError) else f"{type(error).__name__}: {error}"
            self.reasons.setdefault((strategy, reason), []).extend(ks)

    def rows(self) -> list[dict[str, Any]]:
        """One object for each strategy and reason."""
        return [{"strategy": name, "k": ks, "reason": reason} for (name, reason), ks in self.reasons.items()]


@dataclass(frozen=True)
class Cell:
    """What a strategy selects for one k and budget, and the seconds that took."""

    strategy: str
    k: K
    selection: Selection
    seconds: float
    budget: int | None = None


def find_candidates(
    specs: Sequence[StrategySpec],
    ks: Sequence[K],
    filters: int,
    context: Context,
    skipped: Skipped,
    budgets: Budgets = (None,),
) -> tuple[list[Candidate], list[Statistic]]:
    """The strategies that can run at a layer of so many filters, with their k, and all statistics they need."""
    found: list[Candidate] = []
    statistics: list[Statistic] = []
    for spec in specs:
        usable: list[K] = []
        with skipped.unless(spec.name, ks):
            if spec.head_only:
                context.needed_head()
            for k in ks:
                with skipped.unless(spec.name, [k]):
                    check_k(spec, k, filters)
                    for budget in budgets:
                        check_budget(budget, k, filters)
                    usable.append(k)
            if usable:
                statistics += needed(spec, usable)
                found.append(Candidate(spec, usable))
    return found, statistics


def select_all(
    candidates: Sequence[Candidate],
    train: Evidence,
    context: Context,
    skipped: Skipped,
    budgets: Budgets = (None,),
    *,
    distinct: bool = False,
) -> list[Cell]:
    """Every candidate's selection for each of its k and each budget.

    Work that serves several is done for the first.
    """
    cells = []
    for candidate in candidates:
        spec = candidate.spec
        answers: dict[tuple[K, int | None], Answer] = {}
        for budget in budgets:
            own = budget if spec.budgets else None
            for place, k in enumerate(candidate.ks):
                with skipped.unless(spec.name, [k]):
                    start = time.perf_counter()
                    if (k, own) not in answers:
                        found = score(spec, train, candidate.ks[place:], replace(context, budget=own))
                        answers |= {(each, own): answer for each, answer in found.items()}
                    selection = choice(spec, answers[k, own], train, k, budget, distinct=distinct)
                    cells.append(Cell(spec.name, k, selection, time.perf_counter() - start, budget))
    train.forget()
    return cells


def compare_cells(
    cells: Sequence[Cell],
    evidence: SplitEvidence,
    context: Context,
    timings: Timings,
    *,
    refit: bool,
    l2: float | None = None,
    form: HeadForm = "real",
    metrics: Sequence[MetricSpec] = (),
) -> dict[str, Any]:
    """``rows``, one for each cell, ``null`` and ``agreement``. Without a head there are no accuracies."""
    rows = [_describe(cell, evidence.train) for cell in cells]
    with timings.phase("metrics"):
        _add_metrics(rows, cells, evidence, context, metrics)
    nulls: list[dict[str, Any]] = []
    if context.head is not None and cells:
        judge = Judge(evidence, context.head, torch.stack([cell.selection.mask() for cell in cells]), context)
        with timings.phase("null"):
            nulls = judge.add_decomposed(rows)
        judge.add_learned(rows, (cell.selection for cell in cells))
        with timings.phase("essentiality"):
            judge.add_essentiality(rows)
        if refit:
            with timings.phase("refit"):
                judge.add_refit(rows, l2, form)
            with timings.phase("null"):
                judge.add_refit_null(rows, nulls, form)
        judge.add_standing(rows)
    with timings.phase("agreement"):
        agreements = [_agreement(cells, *at) for at in dict.fromkeys((cell.k, cell.budget) for cell in cells)]
    return {"rows": rows, "null": nulls, "agreement": agreements}


def _describe(cell: Cell, train: Evidence) -> dict[str, Any]:
    sizes = [len(row) for row in cell.selection.filters if row]
    return {
        "strategy": cell.strategy,
        "k": cell.k,
        "budget": cell.budget,
        "filters_per_class": sum(sizes) / len(sizes),
        "distinct_filters": cell.selection.distinct,
        "filters": train.filters,
        **dict.fromkeys(("decomposed", "decomposed_interval", "null_mean", "p_value", "learned", "learned_interval")),
        **dict.fromkeys(("refit", "refit_interval", "refit_l2", "refit_kept", "refit_p_value", *STANDING)),
        **dict.fromkeys(("essentiality_gap", "essentiality_spread")),
        "seconds": round(cell.seconds, 4),
    }


def _add_metrics(
    rows: list[dict[str, Any]],
    cells: Sequence[Cell],
    evidence: SplitEvidence,
    context: Context,
    metrics: Sequence[MetricSpec],
) -> None:
    """Of each metric the number that stands for it, and all its figures."""
    selections, ks = [cell.selection for cell in cells], [cell.k for cell in cells]
    for row in rows:
        row["metrics"] = {}
    for spec in metrics:
        for row, figure in zip(rows, measure_each(spec, evidence, selections, context, ks), strict=True):
            row.setdefault(spec.name, headline(spec, figure))
            row["metrics"][spec.name.replace("-", "_")] = figure


def _agreement(cells: Sequence[Cell], k: K, budget: int | None) -> dict[str, Any]:
    chosen = [cell for cell in cells if (cell.k, cell.budget) == (k, budget)]
    selections = [cell.selection for cell in chosen]
    return {
        "k": k,
        "budget": budget,
        "strategies": [cell.strategy for cell in chosen],
        "jaccard": jaccard(selections).tolist(),
        "rank_agreement": rank_agreement(selections).tolist(),
    }
