"""One layer's comparison against each figure made by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from ddeep.errors import ConfigError
from ddeep.evidence.context import Context
from ddeep.experiments._compare_layer import Cell, Skipped, compare_cells, find_candidates, select_all
from ddeep.experiments._judge import DRAWS, REFIT_DRAWS
from ddeep.heads.ablation import essentiality
from ddeep.heads.accuracy import predict
from ddeep.heads.refit import heads_at_once, refit
from ddeep.networks.head import Head
from ddeep.provenance import Timings
from ddeep.registry.specs import StrategySpec
from ddeep.selections.measure import SplitEvidence, get_metric
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from tests.reference import agreement, mutual_information
from tests.support.evidence import evidence_of

CLASSES, FILTERS, IMAGES = 4, 8, 120


def batch(seed: int) -> ResponseBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    centres = torch.randn(CLASSES, FILTERS, generator=torch.Generator().manual_seed(9))
    responses = (centres[labels] + torch.randn(IMAGES, FILTERS, generator=generator)).relu()
    return ResponseBatch(responses, labels, torch.arange(IMAGES))


@pytest.fixture
def context() -> Context:
    generator = torch.Generator().manual_seed(2)
    head = Head(torch.randn(CLASSES, FILTERS, generator=generator), torch.randn(CLASSES, generator=generator))
    return Context(nn.ReLU(), head, seed=3)


@pytest.fixture
def evidence() -> SplitEvidence:
    return SplitEvidence(*(evidence_of(batch(seed), [], CLASSES) for seed in (0, 1)))


CELLS = [
    Cell("first", 2, Selection.of([[0, 1], [2, 3], [4, 5], [6, 7]], FILTERS), 0.5),
    Cell("second", 2, Selection.of([[1, 0], [2, 4], [4, 5], [7, 3]], FILTERS), 0.1),
    Cell("second", 3, Selection.of([[1, 0, 2], [2, 4, 5], [4, 5, 7], [7, 3, 1]], FILTERS), 0.1),
    Cell("uneven", 0.5, Selection.of([[1], [2, 4, 5], [4, 5], [7, 3, 1]], FILTERS), 0.1),
]


@pytest.fixture
def compared(context: Context, evidence: SplitEvidence) -> dict[str, Any]:
    return compare_cells(CELLS, evidence, context, Timings(), refit=True, l2=1e-4, metrics=[get_metric("pmi")])


def test_accuracies_are_those_of_each_head_by_itself(
    compared: dict[str, Any], context: Context, evidence: SplitEvidence
) -> None:
    responses, labels = evidence.of_test().cached_responses()
    weight, bias = context.needed_head()
    for row, cell in zip(compared["rows"], CELLS, strict=True):
        mask = cell.selection.mask()
        fitted = refit(*evidence.train.cached_responses(), weight, bias, mask)
        for name, head in (("decomposed", (weight * mask, bias)), ("refit", fitted.head)):
            right = int((predict(responses, *head) == labels).sum())
            assert row[name] == pytest.approx(100 * right / IMAGES, abs=100.1 / IMAGES if name == "refit" else 1e-9)
            low, high = row[f"{name}_interval"]
            assert low <= row[name] <= high
        assert (row["strategy"], row["k"], row["seconds"]) == (cell.strategy, cell.k, cell.seconds)
        assert row["distinct_filters"] == len({j for filters in cell.selection.filters for j in filters})


@pytest.mark.parametrize("l2", [1e-4, None])
def test_heads_are_judged_a_few_at_a_time_where_they_are_large(
    l2: float | None, context: Context, evidence: SplitEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = compare_cells(CELLS, evidence, context, Timings(), refit=True, l2=l2)
    monkeypatch.setattr("ddeep.heads.refit.LARGEST", 8 * CLASSES * FILTERS)
    assert heads_at_once(CLASSES, FILTERS) == 2
    assert compare_cells(CELLS, evidence, context, Timings(), refit=True, l2=l2) == together


def test_learned_heads_are_judged_each_by_itself(context: Context, evidence: SplitEvidence) -> None:
    """Two cells of one selection, with different heads, and one that has learned none."""
    responses, labels = evidence.of_test().cached_responses()
    heads = [(torch.randn(CLASSES, FILTERS), torch.randn(CLASSES)) for _ in range(2)]
    chosen = CELLS[0].selection
    cells = [Cell("learns", k, chosen.with_head(*head), 0.1) for k, head in zip((2, 3), heads, strict=True)]
    rows = compare_cells([*cells, CELLS[1]], evidence, context, Timings(), refit=False)["rows"]
    for row, (weight, bias) in zip(rows, heads, strict=False):
        right = int((predict(responses, weight * chosen.mask(), bias) == labels).sum())
        assert row["learned"] == pytest.approx(100 * right / IMAGES)
        low, high = row["learned_interval"]
        assert low <= row["learned"] <= high
    assert rows[0]["learned"] != rows[1]["learned"]
    assert rows[0]["decomposed"] == rows[1]["decomposed"]
    assert rows[2]["learned"] is rows[2]["learned_interval"] is None


def test_essentiality_and_shared_filters(compared: dict[str, Any], context: Context, evidence: SplitEvidence) -> None:
    test = evidence.of_test()
    for row, cell in zip(compared["rows"], CELLS, strict=True):
        counts = essentiality(*test.cached_responses(), *context.needed_head(), cell.selection.mask(), seed=3)
        gaps = (100 * (counts["others"] - counts["selected"]).double() / test.class_counts).mean(1)
        assert row["essentiality_gap"] == pytest.approx(gaps.mean().item())
        assert row["essentiality_spread"] == pytest.approx(gaps.std().item())
        expected = mutual_information.pairwise(cell.selection.filters, FILTERS, self_pairs=False)
        assert row["pmi"] == pytest.approx(expected)
        assert row["metrics"]["pmi"]["without_self_pairs"] == pytest.approx(expected)


def test_every_size_has_its_null(compared: dict[str, Any]) -> None:
    nulls = {json.dumps(null["filters_per_class"]): null for null in compared["null"]}
    assert list(nulls) == ["2", "3", "[1, 3, 2, 3]"]
    for row, size in zip(compared["rows"], ("2", "2", "3", "[1, 3, 2, 3]"), strict=True):
        drawn = nulls[size]["decomposed"]
        assert len(drawn) == DRAWS
        assert row["null_mean"] == pytest.approx(sum(drawn) / DRAWS)
        assert row["p_value"] == (1 + sum(value >= row["decomposed"] - 1e-9 for value in drawn)) / (1 + DRAWS)
        assert nulls[size]["quantiles"]["0.025"] <= nulls[size]["quantiles"]["0.5"] <= max(drawn)


def test_the_refit_has_a_null_too(compared: dict[str, Any]) -> None:
    nulls = {json.dumps(null["filters_per_class"]): null for null in compared["null"]}
    for row, size in zip(compared["rows"], ("2", "2", "3", "[1, 3, 2, 3]"), strict=True):
        drawn = nulls[size]["refit"]
        assert len(drawn) == REFIT_DRAWS
        assert nulls[size]["refit_l2"] == 1e-4
        assert row["refit_p_value"] == (1 + sum(value >= row["refit"] - 1e-9 for value in drawn)) / (1 + REFIT_DRAWS)


def test_rows_stand_against_the_best_of_their_k(
    compared: dict[str, Any], context: Context, evidence: SplitEvidence
) -> None:
    responses, labels = evidence.of_test().cached_responses()
    full = 100 * float((predict(responses, *context.needed_head()) == labels).double().mean())
    for k in (2, 3, 0.5):
        rows = [row for row in compared["rows"] if row["k"] == k]
        best = max(row["refit"] for row in rows)
        for row in rows:
            assert row["full_difference"] == pytest.approx(row["refit"] - full)
            assert (row["best_difference"] or 0.0) == pytest.approx(row["refit"] - best)
            assert row["best_alike"] or row["best_p_holm"] <= 0.05
        assert sum(row["best_difference"] is None for row in rows) == 1


def test_agreement_within_each_k(compared: dict[str, Any]) -> None:
    two, three, half = compared["agreement"]
    assert [table["k"] for table in (two, three, half)] == [2, 3, 0.5]
    assert two["strategies"] == ["first", "second"]
    filters = [cell.selection.filters for cell in CELLS[:2]]
    assert two["jaccard"][0][1] == pytest.approx(agreement.jaccard(*filters))
    assert two["rank_agreement"][0][1] == pytest.approx(agreement.rank_agreement(*filters))
    assert three["jaccard"] == [[1]]


def test_without_a_head_there_are_no_accuracies(evidence: SplitEvidence) -> None:
    found = compare_cells(CELLS, evidence, Context(nn.ReLU()), Timings(), refit=True, metrics=[get_metric("pmi")])
    assert found["null"] == []
    assert {row["decomposed"] for row in found["rows"]} == {row["refit"] for row in found["rows"]} == {None}
    assert all(row["pmi"] is not None for row in found["rows"])


def test_without_refits_the_rest_stays(compared: dict[str, Any], evidence: SplitEvidence, context: Context) -> None:
    found = compare_cells(CELLS, evidence, context, Timings(), refit=False)
    for row, whole in zip(found["rows"], compared["rows"], strict=True):
        assert row["refit"] is None
        assert row["decomposed"] == whole["decomposed"]


def broken(*_: object) -> None:
    raise RuntimeError("a bug of its author")


SPECS = [
    StrategySpec("plain", select=lambda evidence, _k, _context: torch.rand(evidence.classes, evidence.filters)),
    StrategySpec("head", select=broken, head_only=True),
    StrategySpec("broken", select=broken),
    StrategySpec("needy", select=broken, needs=broken),
]


def test_what_cannot_run_is_listed_with_the_reason(evidence: SplitEvidence) -> None:
    skipped, bare = Skipped(tolerant=True), Context(nn.ReLU())
    candidates, _ = find_candidates(SPECS, [2, 3, 0.5, 9], FILTERS, bare, skipped)
    assert {one.spec.name: one.ks for one in candidates} == {"plain": [2, 3], "broken": [2, 3]}
    cells = select_all(candidates, evidence.train, bare, skipped)
    assert [(cell.strategy, cell.k) for cell in cells] == [("plain", 2), ("plain", 3)]
    reasons = {(row["strategy"], tuple(row["k"])): row["reason"] for row in skipped.rows()}
    assert "feeds the head" in reasons["head", (2, 3, 0.5, 9)]
    assert "fraction" in reasons["plain", (0.5,)]
    assert "9" in reasons["plain", (9,)]
    assert reasons["broken", (2, 3)] == "RuntimeError: a bug of its author"
    assert reasons["needy", (2, 3, 0.5, 9)] == "RuntimeError: a bug of its author"


@pytest.mark.parametrize(("per_k", "expected"), [(False, [2]), (True, [2, 3])])
def test_scores_that_serve_every_k_are_computed_once(
    per_k: bool, expected: list[int], context: Context, evidence: SplitEvidence
) -> None:
    asked = []

    def select(_evidence: object, k: int, _context: object) -> torch.Tensor:
        asked.append(k)
        return torch.arange(FILTERS).expand(CLASSES, FILTERS).double()

    skipped = Skipped(tolerant=False)
    candidates, _ = find_candidates(
        [StrategySpec("one", select=select, per_k=per_k)], [2, 3], FILTERS, context, skipped
    )
    cells = select_all(candidates, evidence.train, context, skipped)
    assert asked == expected
    assert [cell.selection.filters[0] for cell in cells] == [(7, 6), (7, 6, 5)]


@pytest.mark.parametrize(("budgets", "expected"), [(False, [None]), (True, [3, 5])])
def test_scores_that_serve_every_budget_are_computed_once(
    budgets: bool, expected: list[int | None], context: Context, evidence: SplitEvidence
) -> None:
    asked = []

    def select(_evidence: object, _k: int, given: Context) -> torch.Tensor:
        asked.append(given.budget)
        return torch.arange(FILTERS).expand(CLASSES, FILTERS).double()

    spec, skipped = StrategySpec("one", select=select, budgets=budgets), Skipped(tolerant=False)
    candidates, _ = find_candidates([spec], [2, 3], FILTERS, context, skipped, [3, 5])
    cells = select_all(candidates, evidence.train, context, skipped, [3, 5])
    assert asked == expected
    assert [(cell.budget, cell.k) for cell in cells] == [(3, 2), (3, 3), (5, 2), (5, 3)]
    with pytest.raises(ConfigError, match=r"budget is 9 .* has 8"):
        find_candidates([spec], [2, 3], FILTERS, context, skipped, [3, 9])


def test_what_was_asked_for_by_name_must_run() -> None:
    with pytest.raises(ConfigError, match="feeds the head"):
        find_candidates(SPECS[1:2], [2], FILTERS, Context(nn.ReLU()), Skipped(tolerant=False))
    with pytest.raises(ConfigError, match="fraction"):
        find_candidates(SPECS[:1], [0.5], FILTERS, Context(nn.ReLU()), Skipped(tolerant=False))
