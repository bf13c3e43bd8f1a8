"""The built-in metrics against slow references, and at the edges of what they are defined for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ddeep.errors import ConfigError, DdeepError
from ddeep.evidence.context import Context, View
from ddeep.evidence.evidence import Evidence
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.selections.measure import SplitEvidence, get_metric, measure, measure_each, needed
from ddeep.selections.selection import Selection
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.metrics import pmi
from tests.reference import contrastiveness, filter_images, knockout, twins
from tests.reference.class_selectivity import class_selectivity
from tests.support.evidence import evidence_of

CLASSES, FILTERS, IMAGES = 4, 7, 60


@pytest.fixture
def batch() -> ResponseBatch:
    generator = torch.Generator().manual_seed(0)
    responses = torch.randn(IMAGES, FILTERS, generator=generator).relu()
    responses[:, 3] = responses[:, 3].round()  # many equal values
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    return ResponseBatch(responses, labels, torch.arange(IMAGES))


@pytest.fixture
def head() -> Head:
    generator = torch.Generator().manual_seed(1)
    return Head(torch.randn(CLASSES, FILTERS, generator=generator), torch.randn(CLASSES, generator=generator))


@pytest.fixture
def selection() -> Selection:
    return Selection.of([[0, 3], [1, 2], [5, 4], [3, 6]], FILTERS)


def figure(
    name: str, batch: ResponseBatch, selection: Selection | None = None, head: Head | None = None, **context: Any
) -> Any:
    """What a metric says of ``batch`` as both splits."""
    spec = get_metric(name)
    splits = [evidence_of(batch, needed([spec], split, [2]), CLASSES) for split in ("train", "test")]
    found = measure([spec], SplitEvidence(*splits), selection, Context(nn.ReLU(), head, **context))
    return found[spec.name.replace("-", "_")]


def test_precision_and_coverage(batch: ResponseBatch, selection: Selection) -> None:
    responses, labels = batch.responses.numpy(), batch.labels.tolist()
    for name in ("precision", "coverage"):
        expected = [getattr(filter_images, name)(responses, labels, c, f) for c, f in enumerate(selection.filters)]
        found = figure(name, batch, selection)
        assert found["per_class"] == pytest.approx(expected)
        assert found["mean"] == pytest.approx(np.mean(expected))


def test_a_filter_of_one_class_is_precise_and_covers_it() -> None:
    labels = torch.arange(20) % CLASSES
    responses = nn.functional.one_hot(labels, FILTERS).float()
    batch = ResponseBatch(responses, labels, torch.arange(20))
    own = Selection.of([[c] for c in range(CLASSES)], FILTERS)
    assert figure("precision", batch, own)["mean"] == 100
    assert figure("coverage", batch, own)["mean"] == 100
    assert figure("class-independence", batch) == pytest.approx(0)


@pytest.mark.parametrize("absent", [None, 2])
def test_class_selectivity(batch: ResponseBatch, absent: int | None) -> None:
    if absent is not None:
        batch = replace(batch, labels=torch.where(batch.labels == absent, 1, batch.labels))
    expected = class_selectivity(batch.responses.tolist(), batch.labels.tolist())
    assert figure("class-selectivity", batch) == pytest.approx(expected, rel=1e-9)


def test_class_independence(batch: ResponseBatch) -> None:
    expected = filter_images.class_independence(batch.responses.numpy(), batch.labels.tolist(), CLASSES)
    assert figure("class-independence", batch) == pytest.approx(expected)


def test_of_a_selection_only_the_filters_it_uses_count(batch: ResponseBatch) -> None:
    few = Selection.of([[0, 3], [3], [5], []], FILTERS, absent=[3])
    used = [0, 3, 5]
    expected = filter_images.class_independence(batch.responses[:, used].numpy(), batch.labels.tolist(), CLASSES)
    assert figure("class-independence", batch, few) == pytest.approx(expected)
    alone = replace(batch, responses=batch.responses[:, used])
    assert figure("contrastiveness", batch, few) == pytest.approx(figure("contrastiveness", alone))
    assert figure("contrastiveness", batch) != pytest.approx(figure("contrastiveness", alone))


def test_class_independence_is_not_defined_for_constant_filters(batch: ResponseBatch) -> None:
    constant = replace(batch, responses=torch.ones(IMAGES, FILTERS))
    assert figure("class-independence", constant) is None
    assert figure("contrastiveness", constant) is None


def test_contrastiveness_tells_on_off_filters_from_others() -> None:
    generator = torch.Generator().manual_seed(2)
    switched = (torch.arange(400) % 2)[:, None] * 10 + torch.randn(400, FILTERS, generator=generator) * 0.1
    smooth = torch.randn(400, FILTERS, generator=generator)
    labels = torch.arange(400) % CLASSES
    on_off = figure("contrastiveness", ResponseBatch(switched, labels, torch.arange(400)))
    assert on_off == pytest.approx(1, abs=1e-3)
    assert figure("contrastiveness", ResponseBatch(smooth, labels, torch.arange(400))) < 0.9


@pytest.mark.parametrize("kind", ["rectified", "few values", "far from 0", "of tiny spread", "two images"])
def test_contrastiveness(kind: str) -> None:
    source = torch.Generator().manual_seed(3)
    responses = {
        "rectified": torch.randn(500, FILTERS, generator=source).relu(),
        "few values": torch.randint(0, 3, (500, FILTERS), generator=source).float(),
        "far from 0": 1e4 + torch.randn(500, FILTERS, generator=source),
        "of tiny spread": 1e-5 * torch.randn(500, FILTERS, generator=source),
        "two images": torch.randn(2, FILTERS, generator=source),
    }[kind]
    images = torch.arange(len(responses))
    expected = 1 - np.mean([contrastiveness.overlap(column) for column in responses.T.numpy()])
    found = figure("contrastiveness", ResponseBatch(responses, images % CLASSES, images))
    assert found == pytest.approx(expected, abs=1e-6)


def test_contrastiveness_of_a_real_network(real_data: Callable[[str], Path]) -> None:
    table = load_file(real_data("responses/lite0-tiny202.safetensors"))
    responses, images = table["train_responses"][::10, :4], torch.arange(2020)
    expected = 1 - np.mean([contrastiveness.overlap(column) for column in responses.T.numpy()])
    found = figure("contrastiveness", ResponseBatch(responses, images % CLASSES, images))
    assert found == pytest.approx(expected, abs=1e-6)


def test_knockout_is_the_head_run_anew(batch: ResponseBatch, head: Head) -> None:
    right = knockout.knockout(batch.responses.numpy(), batch.labels.numpy(), head.weight.numpy(), head.bias.numpy())
    clean = ((batch.responses @ head.weight.T + head.bias).argmax(1) == batch.labels).numpy()
    labels = batch.labels.numpy()
    expected = [[100 * (clean[labels == c].sum() - n) / (labels == c).sum() for n in right[c]] for c in range(CLASSES)]
    found = figure("knockout", batch, head=head)
    assert np.array(found["drop"]) == pytest.approx(np.array(expected))
    assert found["largest"] == pytest.approx(np.max(expected))


def test_pmi_variants(batch: ResponseBatch) -> None:
    order = batch.responses.abs().argsort(dim=1, descending=True, stable=True)[:, :2]
    counts = np.zeros((CLASSES, FILTERS))
    for row, label in zip(order.tolist(), batch.labels.tolist(), strict=True):
        counts[label, row] += 1
    found = figure("pmi", batch, Selection.of([[0, 1], [1, 2], [2, 3], [0, 3]], FILTERS))
    for name, expected in filter_images.entropy_information(counts).items():
        assert found[name] == pytest.approx(expected, rel=1e-9)


def test_entropy_variants_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 4, (7, 12), generator=generator).double()
    counts[:, 0] += 1
    counts[2] += 1  # a class that uses every filter
    expected = filter_images.entropy_information(counts.numpy())
    for cells in (1, 7 * 12 * 3, 2**22):
        monkeypatch.setattr(pmi, "CELLS", cells)
        assert pmi.entropy_information(counts) == pytest.approx(expected, rel=1e-9)


def test_pmi_variants_need_one_k(batch: ResponseBatch) -> None:
    found = figure("pmi", batch, Selection.of([[0, 1], [1], [2, 3], [0, 3]], FILTERS))
    assert found["frequency"] is None
    assert found["with_self_pairs"] is not None


def test_pmi_variants_are_computed_once_for_all_of_one_k(
    batch: ResponseBatch, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Selection.of([[0, 3, 1], [1, 2, 0], [5, 4, 0], [3, 6, 1]], FILTERS)
    fewer = selection  # two filters where three were asked for
    given, ks = [selection, three, Selection.of([[6, 1]] * CLASSES, FILTERS), three, fewer], [2, 3, 2, 3, 3]
    spec, context = get_metric("pmi"), Context(nn.ReLU())
    evidence = SplitEvidence(evidence_of(batch, needed([spec], "train", [2, 3]), CLASSES))
    alone = [measure([spec], evidence, one, context, k)["pmi"] for one, k in zip(given, ks, strict=True)]
    counted, really = [], pmi.entropy_information
    monkeypatch.setattr(pmi, "entropy_information", lambda counts: counted.append(counts) or really(counts))
    together = measure_each(spec, evidence, given, context, ks)
    assert together == alone
    assert [one["frequency"] is None for one in together] == [False, False, False, False, True]
    assert len(counted) == 2


def test_psi_takes_a_mass(batch: ResponseBatch) -> None:
    assert figure("psi:0.9", batch)["mass"] == 0.9
    assert figure("psi:0.9", batch)["median"] < figure("psi", batch)["median"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("pmi:3", "takes no number"), ("psi:half", "is not a number"), ("psi:1.5", "between 0 and 1"), ("psy", "psi")],
)
def test_options_that_cannot_be(name: str, told: str, batch: ResponseBatch) -> None:
    with pytest.raises(DdeepError, match=told):
        figure(name, batch)


class Tail:
    """Maps (N, K, 2, 2) whose pooled value feeds a linear head: stands for a network run on from a layer."""

    def __init__(self, batch: ResponseBatch, head: Head) -> None:
        spread = torch.tensor([[0.5, 1.5], [1.0, 1.0]])
        self.maps, self.batch, self.head, self.runs = batch.responses[:, :, None, None] * spread, batch, head, 0

    def __call__(self, visit: Any = None) -> Any:
        self.runs += 1
        for rows in torch.arange(IMAGES).split(17):
            labels = self.batch.labels[rows]
            maps = self.maps[rows]
            other = None if visit is None else visit(maps, labels, rows)
            given = maps if other is None else other
            yield View(labels, rows, given.mean((2, 3)) @ self.head.weight.T + self.head.bias)


def test_essentiality_run_on_from_a_layer_is_that_at_the_head(
    batch: ResponseBatch, selection: Selection, head: Head
) -> None:
    at_head = figure("essentiality:3", batch, selection, head, seed=5)
    tail = Tail(batch, head)
    run_on = figure("essentiality:3", batch, selection, seed=5, layer=Layer("relu"), run_test=tail)
    assert tail.runs == 1 + 2 * 3
    assert run_on == at_head
    assert len(at_head["selected"]) == CLASSES
    assert figure("essentiality:3", batch, selection, head, seed=6) != at_head


def test_spatial_diversity(batch: ResponseBatch, selection: Selection, head: Head) -> None:
    tail = Tail(batch, head)
    tail.maps = torch.randn(IMAGES, FILTERS, 2, 2, generator=torch.Generator().manual_seed(3))
    tail.maps[:5] = 0
    found = figure("sid", batch, selection, layer=Layer("relu"), run_test=tail)
    expected: dict[int, list[float]] = {c: [] for c in range(CLASSES)}
    for maps, c in zip(tail.maps.flatten(2).numpy(), batch.labels.tolist(), strict=True):
        expected[c].append(filter_images.diversity(maps[list(selection.filters[c])]))
    assert found["per_class"] == pytest.approx([np.mean(values) for values in expected.values()])
    assert found["mean"] == pytest.approx(np.mean([v for values in expected.values() for v in values]))


def test_the_diversities_of_several_selections_take_one_run(
    batch: ResponseBatch, selection: Selection, head: Head
) -> None:
    tail, runs = Tail(batch, head), []
    tail.maps = torch.randn(IMAGES, FILTERS, 2, 2, generator=torch.Generator().manual_seed(3))

    def counted(visit: Any = None) -> Any:
        runs.append(visit)
        return tail(visit)

    other = Selection.of([[1, 6, 2], [1, 2], [], [0, 5]], FILTERS, absent=[2])
    spec, context = get_metric("sid"), Context(nn.ReLU(), head, layer=Layer("relu"), run_test=counted)
    evidence = SplitEvidence(*(evidence_of(batch, [], CLASSES) for _ in range(2)))
    together = measure_each(spec, evidence, [selection, other, selection], context, [2, 2, 2])
    assert len(runs) == 1
    assert together == [
        figure("sid", batch, one, layer=Layer("relu"), run_test=tail) for one in (selection, other, selection)
    ]
    tail.maps = tail.maps[..., :1, :1]  # one position: no places to differ in
    assert figure("sid", batch, selection, layer=Layer("relu"), run_test=tail)["mean"] is None


def test_twins(batch: ResponseBatch) -> None:
    for rows in ([[0, 3], [3, 0], [0, 3], [1, 2]], [[0], [1], [2], [3]], [[4, 5, 6], [4, 5], [6, 5, 4], []]):
        one = Selection.of(rows, FILTERS, absent=[c for c, row in enumerate(rows) if not row])
        assert figure("twins", batch, one) == twins.pairs(rows)


def test_what_needs_a_network_says_so(batch: ResponseBatch, selection: Selection) -> None:
    with pytest.raises(ConfigError, match="not at hand"):
        figure("sid", batch, selection)


def test_absent_classes_have_no_figures(batch: ResponseBatch, head: Head) -> None:
    gone = replace(batch, labels=torch.where(batch.labels == 2, 1, batch.labels))
    selection = Selection.of([[0, 3], [1, 2], [], [3, 6]], FILTERS, absent=[2])
    for name in ("precision", "coverage"):
        assert figure(name, gone, selection)["per_class"][2] is None
    assert figure("knockout", gone, head=head)["drop"][2] is None
    assert figure("essentiality", gone, selection, head)["selected"][2] is None
    assert figure("psi", gone)["per_class"][2] is None


def test_evidence_without_responses_says_so(batch: ResponseBatch, selection: Selection) -> None:
    bare = Evidence(Layer("relu"), "test", torch.bincount(batch.labels), FILTERS)
    with pytest.raises(ConfigError, match="were not asked for"):
        measure([get_metric("precision")], SplitEvidence(bare, bare), selection, Context(nn.ReLU()))
