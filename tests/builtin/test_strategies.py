"""Every built-in strategy: against its definition, unmoved by order, splits and names, and on awkward responses."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ddeep import api
from ddeep.errors import ConfigError
from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.registry.specs import StrategySpec, resolve
from ddeep.selections.select import choose, get_strategy, needed
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.histograms import RankSums
from ddeep_plugins_builtin.strategies import ddeep_strategies
from ddeep_plugins_builtin.strategies.filter_norm import last_weighted
from tests.reference import strategies as reference
from tests.reference.strategies import Case
from tests.support.batches import batch_of, batches, rows
from tests.support.effort import examples
from tests.support.evidence import evidence_of

CLASSES = 4
SPECS = list(ddeep_strategies())
SCORING = [spec for spec in SPECS if hasattr(reference, spec.name.replace("-", "_")) and spec.name != "paper"]
every_strategy = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
every_scoring = pytest.mark.parametrize("spec", SCORING, ids=lambda spec: spec.name)


def context_of(filters: int, classes: int = CLASSES, seed: int = 0) -> Context:
    """A convolution and a head with random weights."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(3, filters, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    weight = torch.randn(classes, filters, generator=generator)
    return Context(layer, Head(weight, torch.randn(classes, generator=generator)))


def case_of(batch: ResponseBatch, context: Context) -> Case:
    assert batch.zeros is not None
    assert batch.gradient_activation is not None
    assert isinstance(context.module, nn.Conv2d)
    return Case(
        batch.responses.tolist(),
        batch.labels.tolist(),
        CLASSES,
        batch.zeros.tolist(),
        batch.gradient_activation.tolist(),
        context.needed_head().weight.tolist(),
        context.module.weight.detach().flatten(1).tolist(),
    )


def suited(spec: StrategySpec, batch: ResponseBatch) -> ResponseBatch:
    """The batch, its responses made non-negative where the strategy is defined for such."""
    return replace(batch, responses=batch.responses.abs()) if spec.non_negative else batch


def scores_of(spec: StrategySpec, evidence: Evidence, context: Context) -> Tensor:
    scores = resolve(spec.select)(evidence, 1, context)
    assert isinstance(scores, Tensor)
    return scores.double()


def random_batch(images: int = 300, filters: int = 12, classes: int = CLASSES, seed: int = 0) -> ResponseBatch:
    """Responses as of a ReLU's, filters preferring classes; extras random."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator)
    liking = torch.randn(classes, filters, generator=generator)
    responses = (liking[labels] + torch.randn(images, filters, generator=generator)).clamp(min=0)
    return batch_of(responses, labels, classes)


def test_every_strategy_has_a_reference() -> None:
    """In one module; what chooses jointly is compared in a test file, with a module, of its own."""
    others = {spec.name for spec in SPECS if spec not in SCORING} - {"paper", "random"}
    for name in others:
        assert import_module(f"tests.reference.{name.replace('-', '_')}")
    assert {spec.name for spec in SPECS if spec.learned} <= others
    assert {spec.name for spec in SPECS} <= registry().strategies.keys()


@every_scoring
@examples(25)
@given(batch=batches(classes=CLASSES))
def test_scores_are_those_of_the_definition(spec: StrategySpec, batch: ResponseBatch) -> None:
    batch = suited(spec, batch)
    context = context_of(batch.responses.shape[1])
    evidence = evidence_of(batch, needed(spec, [1]), CLASSES)
    found = scores_of(spec, evidence, context)
    expected = torch.tensor(
        getattr(reference, spec.name.replace("-", "_"))(case_of(batch, context)), dtype=torch.float64
    )
    present = evidence.present
    assert torch.isfinite(found).all()
    if spec.name == "roc-auc":
        assert ((found - expected).abs() <= evidence[RankSums(4096)].areas(evidence.class_counts)[1] + 1e-12)[
            present
        ].all()
    else:
        scale = max(1, batch.responses.abs().max().item())
        torch.testing.assert_close(found[present], expected[present], rtol=1e-7, atol=1e-9 * scale)


def test_tf_idf_divides_whole_numbers_in_double_precision() -> None:
    batch = batch_of(torch.tensor([[0.0], [0.5], [0.5], [0.0]]), torch.arange(4), CLASSES)
    spec = get_strategy("tf-idf")
    found = scores_of(spec, evidence_of(batch, needed(spec, [1]), CLASSES), context_of(1))
    assert found[1].item() == pytest.approx(math.log(4 / 3), rel=1e-14)


def test_d_prime_takes_rounding_for_no_spread() -> None:
    """One image a class: no spread, whatever the squares' rounding; and a large class does not drown a small one."""
    batch = batch_of(torch.tensor([[32.0, 1e6], [0.095, 0.1], [0.095, 0.2]]), torch.tensor([0, 1, 1]), CLASSES)
    spec = get_strategy("d-prime")
    found = scores_of(spec, evidence_of(batch, needed(spec, [1]), CLASSES), context_of(2))
    a, b, c = batch.responses[:, 1].double().tolist()
    spread = math.sqrt(((c - b) / 2) ** 2 / 2) + 1e-7
    assert found[0].tolist() == pytest.approx([(32 - batch.responses[1, 0].item()) / 1e-7, (a - (b + c) / 2) / spread])
    assert found[1].tolist() == pytest.approx([-found[0, 0].item(), -found[0, 1].item()])


@examples(60)
@given(batch=batches(classes=CLASSES), k=st.sampled_from([1, 2, 3, 0.1, 0.3, 0.5, 0.9]))
def test_paper_selects_what_the_definition_selects(batch: ResponseBatch, k: int | float) -> None:
    filters = batch.responses.shape[1]
    k = min(k, filters) if isinstance(k, int) else k
    spec, context = get_strategy("paper"), context_of(filters)
    silent = [c for c in set(batch.labels.tolist()) if not batch.responses[batch.labels == c].any()]
    if silent and isinstance(k, float):
        return  # no counts, so no shares: see test_paper_and_silent_classes
    found = choose(spec, evidence_of(batch, needed(spec, [k]), CLASSES), k, context)
    assert [list(row) for row in found.filters] == reference.paper(case_of(batch, context), k)


@every_strategy
@pytest.mark.parametrize("k", [1, 3])
def test_order_splits_and_merges_do_not_matter(spec: StrategySpec, k: int) -> None:
    batch, context = random_batch(), context_of(12)
    images = len(batch.labels)
    expected = choose(spec, evidence_of(batch, needed(spec, [k]), CLASSES), k, context)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(images, generator=generator)
        cuts = torch.randint(1, images, (9,), generator=generator).sort().values.tolist()
        pieces = [rows(batch, part) for part in order.tensor_split(cuts) if len(part)]
        workers = [pieces[seed::3], pieces[(seed + 1) % 3 :: 3], pieces[(seed + 2) % 3 :: 3]]
        found = choose(spec, evidence_of(rows(batch, order), needed(spec, [k]), CLASSES, workers), k, context)
        assert found.filters == expected.filters
        flat = [torch.tensor([s for row in chosen.scores for s in row]) for chosen in (found, expected)]
        torch.testing.assert_close(*flat, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if not spec.stochastic], ids=lambda spec: spec.name)
@pytest.mark.parametrize("names", [[1, 0, 2, 3], [3, 2, 0, 1]])
def test_renaming_classes_renames_the_selection(spec: StrategySpec, names: list[int]) -> None:
    batch, context = random_batch(), context_of(12)
    expected = choose(spec, evidence_of(batch, needed(spec, [3]), CLASSES), 3, context)
    wanted = torch.tensor(names)
    head = context.needed_head()
    turned = Head(torch.empty_like(head.weight), torch.empty_like(head.bias))
    turned.weight[wanted], turned.bias[wanted] = head.weight, head.bias
    renamed = replace(batch, labels=wanted[batch.labels])
    found = choose(spec, evidence_of(renamed, needed(spec, [3]), CLASSES), 3, replace(context, head=turned))
    assert [found.filters[names[c]] for c in range(CLASSES)] == list(expected.filters)


@every_strategy
@pytest.mark.parametrize("awkward", ["absent", "single", "one each", "dead", "constant", "silent"])
def test_awkward_responses_give_a_whole_selection(spec: StrategySpec, awkward: str) -> None:
    batch = random_batch(60, 5)
    if awkward == "absent":
        batch = rows(batch, torch.nonzero(batch.labels != 2)[:, 0])
    elif awkward == "single":
        batch = rows(batch, torch.nonzero(batch.labels == 1)[:, 0])
    elif awkward == "one each":
        batch = rows(batch, torch.tensor([batch.labels.tolist().index(c) for c in range(CLASSES)]))
    elif awkward == "dead":
        batch.responses[:, 3] = 0
    elif awkward == "constant":
        batch.responses[:, 3] = 0.3
    else:
        batch.responses[batch.labels == 2] = 0
    present = sorted(set(batch.labels.tolist()))
    for k in (2, 5):
        found = choose(spec, evidence_of(batch, needed(spec, [k]), CLASSES), k, context_of(5))
        assert list(found.absent) == [c for c in range(CLASSES) if c not in present]
        sizes = [len(found.filters[c]) for c in present]
        if spec.name in {"sldd", "q-senn"}:  # k on average, but one at least
            assert min(sizes) >= 1
            assert sum(sizes) <= k * len(present) + len(present) - 1
        else:
            assert sizes == [k] * len(present)


@pytest.mark.parametrize("name", ["selectivity", "tf-idf", "firing-rate"])
def test_strategies_for_non_negative_responses_refuse_signed_ones(name: str) -> None:
    spec, batch = get_strategy(name), random_batch(20, 4)
    batch.responses[3, 1] = -1e-3
    with pytest.raises(ConfigError, match=f"{name}.*non-negative.*relu"):
        choose(spec, evidence_of(batch, needed(spec, [2]), CLASSES), 2, context_of(4))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.head_only], ids=lambda spec: spec.name)
def test_strategies_that_read_the_head_need_one(spec: StrategySpec) -> None:
    context = replace(context_of(12), head=None)
    with pytest.raises(ConfigError, match="head"):
        choose(spec, evidence_of(random_batch(), needed(spec, [2]), CLASSES), 2, context)


def test_roc_auc_on_smooth_responses_has_a_small_bound_that_holds() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, CLASSES, (800,), generator=generator)
    batch = batch_of(torch.randn(800, 2, generator=generator) + labels[:, None] * 0.3, labels, CLASSES)
    exact = torch.tensor(reference.roc_auc(case_of(batch, context_of(2))), dtype=torch.float64)
    errors = {}
    for bins in (4096, 16):
        evidence = evidence_of(batch, [RankSums(bins)], CLASSES)
        areas, bounds = evidence[RankSums(bins)].areas(evidence.class_counts)
        errors[bins] = ((areas - exact).abs().max().item(), bounds.max().item())
        assert ((areas - exact).abs() <= bounds + 1e-12).all()
    assert errors[4096][1] < 2e-3
    assert errors[16][0] > 1e-5, "few bins must show an error, or the bound is not tested"


def test_filters_that_tell_as_much_are_ties() -> None:
    """With one image a class every filter whose responses all differ tells the same: the first are selected."""
    generator = torch.Generator().manual_seed(0)
    classes, filters = 13, 12
    responses = torch.stack([torch.randperm(classes, generator=generator) for _ in range(filters)], 1).float()
    batch = ResponseBatch(responses, torch.arange(classes), torch.arange(classes))
    spec = get_strategy("mutual-information")
    found = choose(spec, evidence_of(batch, needed(spec, [3]), classes), 3, context_of(filters, classes))
    assert set(found.filters) == {(0, 1, 2)}


def test_random_is_its_seed_alone() -> None:
    spec = get_strategy("random")
    evidence = evidence_of(random_batch(), [], CLASSES)
    first, same, other = (choose(spec, evidence, 3, replace(context_of(12), seed=seed)) for seed in (1, 1, 2))
    assert first == same
    assert first.filters != other.filters


def test_random_gives_every_filter_the_same_chance() -> None:
    spec, evidence = get_strategy("random"), evidence_of(random_batch(), [], CLASSES)
    counts = torch.zeros(CLASSES, 12)
    for seed in range(600):
        for c, row in enumerate(choose(spec, evidence, 3, replace(context_of(12), seed=seed)).filters):
            counts[c, list(row)] += 1
    spread = (600 * 0.25 * 0.75) ** 0.5
    assert ((counts - 150).abs() < 4.5 * spread).all()


def test_filter_norm_reads_the_convolution_that_makes_the_filters() -> None:
    block = nn.Module()
    block.conv1, block.conv2 = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    block.shortcut = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    assert last_weighted(block, 8) is block.conv2
    assert last_weighted(nn.Sequential(nn.ReLU(), block, nn.ReLU()), 8) is block.conv2
    assert last_weighted(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), 8).in_features == 4  # type: ignore[union-attr]
    assert last_weighted(block, 9) is None


def test_filter_norm_at_a_layer_without_weights_says_so() -> None:
    spec, context = get_strategy("filter-norm"), Context(nn.ReLU())
    with pytest.raises(ConfigError, match="'relu' holds no convolution or linear layer with 12 outputs"):
        choose(spec, evidence_of(random_batch(), [], CLASSES), 2, context)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """The packaged network, and some of the images it knows."""
    from ddeep.data.loader import Loader
    from ddeep.experiments.opening import open_subject
    from ddeep.experiments.settings import SubjectConfig

    subject = open_subject(SubjectConfig(model="resnet20", dataset="digits", device="cpu"))
    loader = Loader(subject.images["test"], subject.network.preprocessing, 64, workers=0)
    return subject.network.module.eval(), [(batch.images, subject.labels("test")[batch.indices]) for batch in loader]


def test_gradient_times_activation_before_the_head_is_the_contribution(
    digits: tuple[nn.Module, list[tuple[Tensor, Tensor]]],
) -> None:
    module, images = digits
    specs = {name: get_strategy(name) for name in ("gradient-activation", "contribution")}
    statistics = [statistic for spec in specs.values() for statistic in needed(spec, [1])]
    evidence = api.gather(module, images, layer="layer3.2", statistics=statistics, head="linear", device="cpu")
    linear = module.get_submodule("linear")
    assert isinstance(linear, nn.Linear)
    context = Context(module.get_submodule("layer3.2"), Head(linear.weight.detach(), linear.bias.detach()))
    scores = {name: scores_of(spec, evidence, context) for name, spec in specs.items()}
    difference = (scores["gradient-activation"] - scores["contribution"]).abs().max()
    assert difference <= 1e-5 * scores["contribution"].abs().max()
    assert scores["contribution"].abs().max() > 0


@pytest.mark.parametrize("layer", ["layer1.0", "layer2.1.relu1"])
def test_gradient_strategies_at_inner_layers_follow_from_autograd(
    layer: str, digits: tuple[nn.Module, list[tuple[Tensor, Tensor]]]
) -> None:
    """In float64: a unit within rounding of a ReLU's kink has another gradient from one kernel to the next."""
    module, images = digits
    module = copy.deepcopy(module).double()
    spec = get_strategy("taylor")
    shown, labels = images[0][0].double(), images[0][1]
    evidence = api.gather(
        module, [(shown, labels)], layer=Layer(layer), statistics=needed(spec, [1]), head="linear", device="cpu"
    )
    found = scores_of(spec, evidence, Context(module.get_submodule(layer)))
    kept: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    try:
        expected = torch.zeros_like(found, dtype=torch.float64)
        for image, label in zip(shown[:, None], labels.tolist(), strict=True):
            kept.clear()
            module(image)[0, label].backward(inputs=[(kept[0].retain_grad(), kept[0])[1]])
            product = (kept[0].grad * kept[0]).detach()  # type: ignore[operator]
            expected[label] += product.sum((0, 2, 3)).abs() / (labels == label).sum()
    finally:
        handle.remove()
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6 * expected.max().item())
