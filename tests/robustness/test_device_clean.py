"""Nothing mixes devices: the pass, every statistic, the head, strategies, metrics and the training step's forward half.

There need not be a GPU: tensors pretend to be on one, and torch refuses to combine them with others. Everything is
parametrized over the registry, strangers' plugins included: every statistic that a spec asks for, every strategy that
is not learned, every metric, every regularizer.

Two things cannot be pretended in a build of torch without CUDA: ``autocast("cuda")``, which turns itself off, and the
backward pass (of the training step, and of statistics of gradients), which asks for streams of the device. Tests marked
``cuda`` run those, and the whole spine, where a GPU is (test_cuda). What a pass hands to strategies and metrics is on
the CPU whatever the device, so those are followed there; where they ask for values (a threshold, a class without
images) there is nothing more to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from ddeep.data.batches import Batch
from ddeep.data.images import SPLITS
from ddeep.data.preprocessing import Preprocessing
from ddeep.evidence import collector
from ddeep.evidence.collector import Collector
from ddeep.evidence.context import Context, View
from ddeep.evidence.evidence import Evidence, by_round
from ddeep.heads.decomposed import DecomposedLinear
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from ddeep.selections.measure import SplitEvidence
from ddeep.selections.measure import needed as needed_by_metrics
from ddeep.selections.select import needed
from ddeep.selections.selection import Selection
from ddeep.statistics.basic import Confusion, peaks
from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.statistic import Statistic
from ddeep.training.objective import Objective
from ddeep.training.regularizers import Regularizer
from tests.support.pretend import moved, pretend_cuda

CLASSES, FILTERS, IMAGES = 3, 6, 8
# Where values decide shapes or branches there is nothing to follow any more, and nothing was mixed up to there.
HOST_LOGIC = (DataDependentOutputException, DynamicOutputShapeException)
LAYER = Layer("1")


def all_statistics() -> list[Statistic]:
    """Every statistic that a spec of the registry asks for, and the network's own confusion."""
    wanted = [statistic for spec in registry().strategies.values() for statistic in needed(spec, [2])]
    for split in SPLITS:
        wanted += needed_by_metrics(registry().metrics.values(), split, [2])
    wanted += [Confusion(), Confusion((0, 2))]
    return [statistic for part in by_round(wanted) for statistic in part]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, FILTERS, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(FILTERS, CLASSES)
    ).eval()


def rows(device: torch.device | str) -> ResponseBatch:
    """A batch with everything a statistic may read."""
    table = [torch.empty(IMAGES, FILTERS, device=device) for _ in range(3)]
    numbers = [torch.empty(IMAGES, dtype=torch.int64, device=device) for _ in range(2)]
    logits = torch.empty(IMAGES, CLASSES, device=device)
    return ResponseBatch(table[0], *numbers, table[1], table[2], logits, {peaks: table[1]})


def devices(statistic: Statistic) -> set[str]:
    return {getattr(statistic, name).device.type for name in statistic.reductions()}


@pytest.mark.parametrize("statistic", all_statistics(), ids=repr)
def test_a_statistic_stays_on_its_device_and_ends_on_the_cpu(statistic: Statistic) -> None:
    with pretend_cuda() as cuda:
        complete: dict[Statistic, Statistic] = {}
        for wanted in [s for part in by_round([statistic]) for s in part]:
            twin = wanted.twin()
            twin.start(CLASSES, FILTERS, cuda)
            twin.prepare(complete)
            twin.update(rows(cuda))
            twin.update(rows(cuda))
            assert devices(twin) == {"cuda"}
            other = wanted.twin()
            other.start(CLASSES, FILTERS, cuda)
            other.prepare(complete)
            other.update(rows(cuda))
            twin.merge(other)
            twin.load_state(twin.state())
            assert devices(twin) == {"cpu"}
            complete[twin] = twin


def test_the_pass_keeps_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "refuse_what_does_not_fit", lambda *_: None)  # asks the real device
    first = [s for s in by_round(all_statistics())[0] if "gradient_activation" not in s.extras]
    recipe = Preprocessing((0.5,) * 3, (0.5,) * 3, 8, 8)
    with pretend_cuda() as cuda:
        module = moved(network())
        gathered = Collector(module, {LAYER: first}, classes=CLASSES, device=cuda)
        pixels = torch.empty(IMAGES, 10, 10, 3, dtype=torch.uint8).to(cuda)
        numbers = torch.empty(IMAGES, dtype=torch.int64, device=cuda)
        gathered.run([Batch(recipe.normalise(recipe.fit(pixels)), numbers, numbers)] * 2)
        layer = gathered.layers[LAYER]
        layer.flush()
        for statistic in layer.statistics:
            assert devices(statistic) == {"cuda"}, statistic
        assert layer.finite.device.type == "cuda"


def test_the_decomposed_head_keeps_to_the_device() -> None:
    with pretend_cuda() as cuda:
        weight, bias = torch.empty(CLASSES, FILTERS, device=cuda), torch.empty(CLASSES, device=cuda)
        head = DecomposedLinear(weight, bias, torch.empty(CLASSES, FILTERS, dtype=torch.bool, device=cuda))
        assert head(torch.empty(IMAGES, FILTERS, device=cuda)).device == cuda


@pytest.mark.parametrize("name", sorted(registry().regularizers))
def test_the_training_step_keeps_to_the_device(name: str) -> None:
    spec = registry().find("regularizer", name)
    with pretend_cuda() as cuda:
        module = moved(network()).train()
        options = {**spec.options, **({"head": module[-1]} if spec.head else {})}
        term = resolve(spec.build)(CLASSES, {LAYER.name: FILTERS}, **options)
        if isinstance(term, nn.Module):
            term = moved(term)
        objective = Objective(module, 0.1, Regularizer(name, term, (LAYER,)))
        images, labels = torch.empty(IMAGES, 3, 8, 8, device=cuda), torch.empty(IMAGES, dtype=torch.int64, device=cuda)
        with objective:
            try:
                loss, figures = objective(images, labels)
            except HOST_LOGIC:
                return
        assert loss.device == figures.device == cuda


def evidence() -> Evidence:
    """Evidence as a pass on any device leaves it: on the CPU."""
    found = Evidence(LAYER, "train", torch.empty(CLASSES, dtype=torch.int64), FILTERS)
    for wanted in all_statistics():
        twin = wanted.twin()
        twin.start(CLASSES, FILTERS, "cpu")
        found.statistics[twin] = twin
    found.responses, found.labels = torch.empty(IMAGES, FILTERS), torch.empty(IMAGES, dtype=torch.int64)
    return found


@contextmanager
def up_to_values() -> Iterator[None]:
    """End the block where it asks for values, which fake tensors do not have."""
    try:
        yield
    except HOST_LOGIC:
        return
    except RuntimeError as error:
        if "numpy() is not supported" not in str(error):
            raise


def follow(function: Callable[[], Any]) -> None:
    """Run until the end, or until values are needed."""
    with up_to_values():
        result = function()
        assert not isinstance(result, Tensor) or result.device.type == "cpu"


@pytest.mark.parametrize("name", sorted(n for n, s in registry().strategies.items() if not s.learned))
def test_a_strategy_scores_on_the_cpu(name: str) -> None:
    spec = registry().find("strategy", name)
    if spec.select is not None:
        select = resolve(spec.select)
    else:
        select = lambda evidence, k, context: resolve(spec.select_all)(evidence, [k], context)[k]  # noqa: E731
    with pretend_cuda():
        context = Context(network()[0], Head(torch.empty(CLASSES, FILTERS), torch.empty(CLASSES)))
        follow(lambda: select(evidence(), 2, context))


@pytest.mark.parametrize("name", sorted(registry().metrics))
def test_a_metric_measures_on_the_cpu(name: str) -> None:
    spec = registry().find("metric", name)
    selection = Selection.of([[0, 1], [2, 3], [4, 5]], FILTERS)
    with pretend_cuda() as cuda:
        weight, bias = torch.empty(CLASSES, FILTERS), torch.empty(CLASSES)
        context = Context(network()[1], Head(weight, bias), layer=LAYER, run_test=lambda visit=None: views(cuda, visit))
        found = evidence()
        with up_to_values():
            resolve(spec.measure)(SplitEvidence(found, found), selection, context)


def views(cuda: torch.device, visit: Any) -> Iterator[View]:
    """The test split run once more, on the pretend device: one batch."""
    numbers = torch.empty(IMAGES, dtype=torch.int64, device=cuda)
    if visit is not None:
        changed = visit(torch.empty(IMAGES, FILTERS, 3, 3, device=cuda), numbers, numbers)
        assert changed is None or changed.device == cuda
    yield View(numbers, numbers, torch.empty(IMAGES, CLASSES, device=cuda))


def test_what_would_mix_is_caught() -> None:
    with pretend_cuda() as cuda, pytest.raises(RuntimeError, match="same device"):
        torch.empty(2, device=cuda) + torch.empty(2)
