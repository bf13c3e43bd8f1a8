"""One pass over images: whatever the batches, the same evidence; early refusals; nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ddeep.data.batches import Batch
from ddeep.errors import ConfigError, DataError
from ddeep.evidence import collector as gathering_module
from ddeep.evidence import evidence as evidence_module
from ddeep.evidence.collector import Collector
from ddeep.evidence.evidence import Evidence, by_round, count_classes, gather_kept
from ddeep.networks.layer import Layer
from ddeep.statistics import batch as batch_module
from ddeep.statistics.basic import (
    ClassCounts,
    ClassSums,
    Confusion,
    Extremes,
    GradientSums,
    MassHistogram,
    MassTopCounts,
    TopCounts,
    ZeroSums,
)
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.statistic import Statistic
from tests.reference.counts import mass_top_counts, top_counts
from tests.support.effort import examples
from tests.support.toys import CLASSES, FILTERS, Toy, batched, pictures, pooled, toy

CPU = torch.device("cpu")
RELU, CONV = Layer("relu"), Layer("conv")


def gather(
    module: nn.Module,
    batches: list[Batch],
    requests: dict[Layer, list[Statistic]],
    *,
    keep: Callable[[Layer, int], Tensor | None] | None = None,
) -> dict[Layer, Evidence]:
    gathering = Collector(module, requests, classes=CLASSES, device=CPU, keep=keep)
    return gathering.run(batches).finish("train")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks small enough for a few images to make several."""
    monkeypatch.setattr(evidence_module, "KEPT_CHUNK", 16)
    monkeypatch.setattr(batch_module, "BLOCK", 5 * FILTERS)
    monkeypatch.setattr(gathering_module, "CHUNK", 16)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("size", [1, 7, 16, 50])
def test_any_batch_size_gives_the_same_evidence(size: int) -> None:
    module = toy()
    images, labels = pictures(50)
    wanted = [ClassSums(), TopCounts(2), MassHistogram(0.5), Extremes(), Confusion(), ZeroSums(), GradientSums()]
    found = gather(module, batched(images, labels, size), {RELU: wanted})[RELU]
    whole = ResponseBatch(pooled(module, images), labels, torch.arange(50))
    for statistic in (ClassSums(), TopCounts(2), MassHistogram(0.5), Extremes()):
        statistic.start(CLASSES, FILTERS, CPU)
        statistic.update(whole)
        for name, tensor in statistic.state().items():
            torch.testing.assert_close(found[statistic].state()[name], tensor, rtol=1e-6, atol=1e-5)
    assert found[TopCounts(2)].counts.tolist() == top_counts(whole.responses.tolist(), labels.tolist(), CLASSES, 2)
    assert found.class_counts.tolist() == torch.bincount(labels, minlength=CLASSES).tolist()
    assert found.filters == FILTERS
    with torch.no_grad():
        predicted = module(images).argmax(1)
    assert int(found[Confusion()].counts.diagonal().sum()) == int((predicted == labels).sum())


@pytest.mark.usefixtures("small_chunks")
def test_responses_are_kept_in_the_order_of_the_images() -> None:
    module = toy()
    images, labels = pictures(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    shuffled = [Batch(images[part], labels[part], part) for part in torch.split(order, 7)]
    kept = torch.full((50, FILTERS), torch.nan)
    found = gather(module, shuffled, {RELU: []}, keep=lambda *_: kept)[RELU]
    torch.testing.assert_close(kept, pooled(module, images))
    assert found.responses is kept


@pytest.mark.usefixtures("small_chunks")
def test_a_second_round_comes_from_kept_responses() -> None:
    images, labels = pictures(50)
    responses = pooled(toy(), images)
    evidence = Evidence(RELU, "train", torch.bincount(labels, minlength=CLASSES), FILTERS, {}, responses, labels)
    wanted = MassTopCounts(0.5)
    gather_kept(evidence, [wanted, TopCounts(3)], CPU)
    table, truth = responses.tolist(), labels.tolist()
    assert evidence[wanted].counts.tolist() == mass_top_counts(table, truth, CLASSES, 0.5)
    assert evidence[TopCounts(3)].counts.tolist() == top_counts(table, truth, CLASSES, 3)
    assert MassHistogram(0.5) in evidence.statistics


def test_rounds_are_in_order_and_nothing_is_gathered_twice() -> None:
    rounds = by_round([TopCounts(3), MassTopCounts(0.5), MassHistogram(0.5), TopCounts(3), MassTopCounts(0.9)])
    assert rounds == [[TopCounts(3), MassHistogram(0.5), MassHistogram(0.9)], [MassTopCounts(0.5), MassTopCounts(0.9)]]


def test_statistics_asked_for_at_two_layers_by_the_same_objects_stay_apart() -> None:
    module, (images, labels) = toy(), pictures(20)
    shared: list[Statistic] = [ClassSums(), TopCounts(2)]
    both = gather(module, batched(images, labels, 5), {RELU: shared, CONV: shared})
    for layer in (RELU, CONV):
        alone = gather(module, batched(images, labels, 5), {layer: [ClassSums(), TopCounts(2)]})[layer]
        assert torch.equal(both[layer][ClassSums()].sums, alone[ClassSums()].sums)
        assert torch.equal(both[layer][TopCounts(2)].counts, alone[TopCounts(2)].counts)


def test_gradient_statistics_are_weight_times_response() -> None:
    module, (images, labels) = toy(), pictures(40)
    found = gather(module, batched(images, labels, 9), {RELU: [GradientSums()]})[RELU][GradientSums()]
    with torch.no_grad():
        product = (module.head.weight[labels] * pooled(module, images)).double()
    for c in range(CLASSES):
        mine = product[labels == c]
        torch.testing.assert_close(found.signed[c], mine.sum(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.absolute[c], mine.abs().sum(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.squared[c], mine.square().sum(0), rtol=1e-5, atol=1e-6)


def test_a_backward_pass_sees_few_large_images_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps every feature map: a batch that a forward pass takes may not fit."""
    seen: list[int] = []

    class Noting(Toy):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    (images, labels), wanted = pictures(40), [GradientSums(), ClassSums()]
    whole = gather(toy(), batched(images, labels, 25), {RELU: wanted})[RELU]
    monkeypatch.setattr(gathering_module, "NUMBERS", 10 * images[0].numel())
    module = Noting().eval()
    module.load_state_dict(toy().state_dict())
    parts = gather(module, batched(images, labels, 25), {RELU: wanted})[RELU]
    assert seen == [10, 10, 5, 10, 5]
    assert torch.equal(parts.class_counts, whole.class_counts)
    torch.testing.assert_close(parts[ClassSums()].sums, whole[ClassSums()].sums)
    torch.testing.assert_close(parts[GradientSums()].signed, whole[GradientSums()].signed)
    seen.clear()
    gather(module, batched(images, labels, 25), {RELU: [ClassSums()]})
    assert seen == [25, 15]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("image", [0, 20, 49])
def test_responses_that_are_not_finite_are_refused(value: float, image: int) -> None:
    images, labels = pictures(50)
    images[image, 0, 0, 0] = value
    with pytest.raises(DataError, match=r"Layer 'conv' gives NaN or infinite responses\. Check the weights"):
        gather(toy(), batched(images, labels, 7), {CONV: [TopCounts(2)]})


class Counting(nn.Module):
    """Passes images on to a toy and counts the calls."""

    def __init__(self, inner: Toy) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)  # type: ignore[no-any-return]


def test_statistics_that_do_not_fit_in_memory_are_refused_after_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module.psutil, "virtual_memory", lambda: SimpleNamespace(available=400))
    module, (images, labels) = Counting(toy()), pictures(20)
    with pytest.raises(ConfigError, match=r"4 classes and 6 filters take .* GiB free.*largest is MassHistogram\(q=0.5"):
        gather(module, batched(images, labels, 5), {Layer("inner.relu"): [ClassSums(), MassHistogram(0.5)]})
    assert module.calls == 1


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    sizes = []
    for count in (20, 200):
        images, labels = pictures(count)
        found = gather(toy(), batched(images, labels, 5), {RELU: [ClassSums(), TopCounts(2), MassHistogram(0.5)]})
        sizes.append(sum(t.nbytes for s in found[RELU].statistics.values() for t in s.state().values()))
    assert sizes[0] == sizes[1]


def test_each_image_passes_once_whatever_is_asked() -> None:
    module, (images, labels) = Counting(toy()), pictures(20)
    everything: list[Statistic] = [TopCounts(k) for k in range(1, 6)]
    everything += [ClassSums(), Confusion(), ZeroSums(), GradientSums(), MassTopCounts(0.5)]
    gather(module, batched(images, labels, 5), {Layer("inner.relu"): everything, Layer("inner.conv"): everything})
    assert module.calls == 4


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the calls that make a GPU's host wait, as they happen."""
    seen: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(Tensor, name)

        def call(*args: object) -> object:
            seen.append(name)
            return real(*args)

        return call

    for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__int__", "__float__", "nonzero"):
        monkeypatch.setattr(Tensor, name, counted(name))
    return seen


def test_no_batch_makes_the_host_wait(transfers: list[str]) -> None:
    """What is fetched from the device depends on the number of chunks, not of batches."""
    counts = []
    for size in (20, 2):
        images, labels = pictures(40)
        batches = batched(images, labels, size)
        transfers.clear()
        gather(toy(), batches, {RELU: [ClassSums(), TopCounts(2), MassHistogram(0.5), Extremes()]})
        counts.append(len(transfers))
    assert counts[0] == counts[1]
    assert "tolist" in transfers  # the check for NaN, once: the fixture does see calls


@pytest.mark.parametrize("whole", [False, True])
def test_statistics_see_chunks_not_batches(small_chunks: None, whole: bool) -> None:  # noqa: ARG001
    """In blocks that fit the processor's cache, or whole where they go through them filter by filter."""
    seen: list[int] = []

    class Sizes(ClassCounts):
        by_filter: ClassVar[bool] = whole

        def update(self, batch: ResponseBatch) -> None:
            seen.append(len(batch.labels))
            super().update(batch)

    images, labels = pictures(50)
    gather(toy(), batched(images, labels, 3), {RELU: [Sizes()]})
    assert seen == ([18, 18, 14] if whole else [5, 5, 5, 3, 5, 5, 5, 3, 5, 5, 4])


def test_a_pass_without_images_is_an_error() -> None:
    with pytest.raises(DataError, match="The train split holds no images"):
        gather(toy(), [], {RELU: []})


def test_a_layer_that_is_never_called_is_an_error() -> None:
    module = toy()
    module.unused = nn.Linear(3, 3)
    images, labels = pictures(4)
    with pytest.raises(ConfigError, match="Layer 'unused' is never called"):
        gather(module, batched(images, labels, 2), {Layer("unused"): []})


def test_a_statistic_nobody_declared_is_an_error() -> None:
    images, labels = pictures(4)
    found = gather(toy(), batched(images, labels, 2), {RELU: [TopCounts(2)]})[RELU]
    with pytest.raises(ConfigError, match=r"TopCounts\(k=3\) was not asked for at layer 'relu'.*`needs`"):
        found[TopCounts(3)]
    with pytest.raises(ConfigError, match=r"responses of layer 'relu' .* were not asked for"):
        found.cached_responses()


@given(labels=st.lists(st.integers(-2, 6), max_size=12), classes=st.integers(1, 5))
@examples(40)
def test_labels_are_counted_or_refused(labels: list[int], classes: int) -> None:
    given_labels = torch.tensor(labels, dtype=torch.int64)
    if any(not 0 <= label < classes for label in labels):
        with pytest.raises(DataError, match=rf"Labels run from .* the network has {classes} outputs"):
            count_classes(given_labels, classes)
    else:
        assert count_classes(given_labels, classes).tolist() == [labels.count(c) for c in range(classes)]
