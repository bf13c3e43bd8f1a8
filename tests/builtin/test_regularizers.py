"""Leavitt's regularizer and the class-specific gate, against slow references, and in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from ddeep.errors import ConfigError, SelectionError
from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from ddeep.statistics.basic import ClassSums
from ddeep.statistics.batch import ResponseBatch
from ddeep.training.regularizers import RegularizerConfig, build_regularizer
from ddeep_plugins_builtin.regularizers import csg
from ddeep_plugins_builtin.strategies import csg as csg_strategy
from tests.reference import csg as csg_reference
from tests.reference import leavitt as leavitt_reference
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


def build(name: str, *args: Any, **options: Any) -> Any:
    spec = registry().find("regularizer", name)
    return resolve(spec.build)(*args, **{**spec.options, **options})


def batch(seed: int, images: int, filters: dict[str, int]) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {
        name: (torch.rand(images, count, generator=source) * 1.4 - 0.4).clamp(min=0) for name, count in filters.items()
    }


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    alpha=st.sampled_from([-2.0, -0.1, 0.0, 0.5, 3.0]),
    seed=st.integers(0, 1000),
)
def test_leavitt_equals_the_slow_reference_whatever_classes_are_missing(
    labels: list[int], alpha: float, seed: int
) -> None:
    filters = {"early": 3, "late": 5}
    responses = batch(seed, len(labels), filters)
    found = build("leavitt", 5, filters, alpha=alpha)(responses, torch.tensor(labels))
    expected = leavitt_reference.penalty({name: r.double().numpy() for name, r in responses.items()}, labels, alpha)
    assert found.ndim == 0
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_leavitts_gradient_is_the_numeric_one() -> None:
    labels = torch.tensor([0, 2, 2, 1, 0, 2, 4])
    term = build("leavitt", 5, {"a": 4, "b": 3}, alpha=-1.7)
    source = torch.Generator().manual_seed(3)
    a, b = (0.1 + torch.rand(7, k, generator=source, dtype=torch.float64) for k in (4, 3))
    assert torch.autograd.gradcheck(
        lambda x, y: term({"a": x, "b": y}, labels), (a.requires_grad_(), b.requires_grad_())
    )


def test_leavitts_sign_is_the_papers() -> None:
    """A step down the gradient lowers selectivity for alpha < 0 and raises it for alpha > 0."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for alpha, sign in ((-1.0, -1), (1.0, 1)):
        responses = (0.5 + torch.rand(6, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
        selectivity = build("leavitt", 3, {"a": 8}, alpha=-1.0)
        before = selectivity({"a": responses}, labels).item()
        build("leavitt", 3, {"a": 8}, alpha=alpha)({"a": responses}, labels).backward()
        assert responses.grad is not None
        after = selectivity({"a": responses.detach() - 0.5 * responses.grad}, labels).item()
        assert (after - before) * sign > 0


def test_leavitt_is_zero_with_a_gradient_of_zero_for_one_class() -> None:
    responses = torch.rand(4, 3, requires_grad=True)
    value = build("leavitt", 3, {"a": 3})({"a": responses}, torch.tensor([1, 1, 1, 1]))
    value.backward()
    assert value.item() == 0
    assert responses.grad is not None
    assert not responses.grad.any()


def test_leavitt_refuses_signed_responses() -> None:
    with pytest.raises(ConfigError, match="negative"):
        build("leavitt", 2, {"a": 2})({"a": torch.tensor([[1.0, -1.0], [0.5, 0.5]])}, torch.tensor([0, 1]))


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    budget=st.floats(0, 5),
    seed=st.integers(0, 1000),
)
def test_the_gate_equals_the_slow_reference(labels: list[int], budget: float, seed: int) -> None:
    torch.manual_seed(seed)
    head = nn.Linear(4, 3).double()
    term = build("csg", 3, {"late": 4}, head=head, gated=0.7, density=0.3, budget=budget).double()
    start = torch.randn(3, 4, dtype=torch.float64)
    term.gate.data.copy_(start)
    responses = torch.rand(len(labels), 4, dtype=torch.float64)
    found = term({"late": responses}, torch.tensor(labels))
    gate = csg_reference.projected(start.numpy())
    np.testing.assert_allclose(term.gate.detach().numpy(), gate)
    expected = csg_reference.penalty(
        responses.numpy(), labels, gate, head.weight.detach().numpy(), head.bias.detach().numpy(), 0.7, 0.3, budget
    )
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_gates_gradients_are_the_numeric_ones() -> None:
    torch.manual_seed(0)
    head = nn.Linear(4, 3).double()
    term = build("csg", 3, {"late": 4}, head=head, budget=1.0).double()
    gate = 0.2 + 0.6 * torch.rand(3, 4, dtype=torch.float64)
    gate[:, 0] = 1.0  # so that projecting changes nothing near here
    responses = torch.rand(5, 4, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 1, 0])

    def value(shown: Tensor, rest: Tensor) -> Tensor:
        full = torch.cat([gate[:, :1], rest], 1)
        logits = head(shown * full[labels])
        return nn.functional.cross_entropy(logits, labels) + 0.1 * csg.excess(full, 1.0)

    term.gate.data.copy_(gate)
    assert torch.autograd.gradcheck(value, (responses, gate[:, 1:].clone().requires_grad_()))
    found = torch.autograd.grad(term({"late": responses}, labels), [responses, term.gate, head.weight])
    rest = gate[:, 1:].clone().requires_grad_()
    expected = torch.autograd.grad(value(responses, rest), [responses, rest, head.weight])
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1][:, 1:], expected[1])
    torch.testing.assert_close(found[2], expected[2])


def test_the_heads_parameters_stay_the_networks_own() -> None:
    term = build("csg", 3, {"late": 4}, head=nn.Linear(4, 3))
    assert [name for name, _ in term.named_parameters()] == ["gate"]


def test_the_gate_takes_the_layer_that_feeds_the_head() -> None:
    spec = registry().find("model", "resnet20")
    module = resolve(spec.build)(10)
    found = build_regularizer(RegularizerConfig("csg"), module, size=32, classes=10)
    assert found is not None
    assert [layer.name for layer in found.layers] == ["layer3"]  # whose output is layer3.2's
    given = build_regularizer(
        RegularizerConfig("csg"), module, size=32, classes=10, head="linear", layer=Layer("layer3.2")
    )
    assert given is not None
    assert given.learned()["csg.gate"].shape == (10, 64)
    with pytest.raises(ConfigError, match="one layer"):
        build_regularizer(RegularizerConfig("csg", layers=("layer3.1", "layer3.2")), module, size=32, classes=10)


def test_leavitts_default_layers_are_all_relus() -> None:
    module = resolve(registry().find("model", "resnet20").build)(10)
    found = build_regularizer(RegularizerConfig("leavitt"), module, size=32, classes=10)
    assert found is not None
    assert len(found.layers) == 19
    assert found.learned() == {}
    with pytest.raises(ConfigError, match="alpha"):
        build_regularizer(RegularizerConfig("leavitt", {"alhpa": 1.0}), module, size=32, classes=10)


def _evidence(responses: Tensor, labels: Tensor, classes: int) -> Evidence:
    sums = ClassSums()
    counts = labels.bincount(minlength=classes)
    sums.start(classes, responses.shape[1], "cpu")
    sums.update(ResponseBatch(responses, labels, torch.arange(len(labels))))
    return Evidence(Layer("late"), "train", counts, responses.shape[1], {sums: sums}, responses, labels)


def test_the_strategy_follows_the_trained_gate_and_learns_one_where_there_is_none() -> None:
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    responses = torch.rand(600, 9, generator=source)
    weight = torch.zeros(3, 9)
    for c in range(3):  # class c is recognised by its own three filters
        responses[labels == c, 3 * c : 3 * c + 3] += 1
        weight[c, 3 * c : 3 * c + 3] = 2
    evidence, head = _evidence(responses, labels, 3), Head(weight, torch.zeros(3))
    learned = csg_strategy.select(evidence, 3, Context(nn.ReLU(), head))
    assert [sorted(row) for row in learned.filters] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    again = csg_strategy.select(evidence, 3, Context(nn.ReLU(), head))
    assert again == learned
    gate = torch.rand(3, 9, generator=source)
    trained = csg_strategy.select(evidence, 2, Context(nn.ReLU(), head, learned={"csg.gate": gate}))
    assert trained.filters == tuple(tuple(row) for row in gate.argsort(1, descending=True)[:, :2].tolist())
    with pytest.raises(SelectionError, match="gate"):
        csg_strategy.select(evidence, 2, Context(nn.ReLU(), head, learned={"csg.gate": gate[:, :4]}))


def test_training_with_the_gate_leaves_it_with_the_weights_and_the_strategy_reads_it(
    tmp_path: Path, cli_here: Cli
) -> None:
    from tests.support.pictures import class_folders

    for split, count in (("train", 12), ("test", 4)):
        class_folders(tmp_path / "images" / split, {"a": count, "b": count, "c": count}, side=16)
    images = ("--model", "resnet20", "--dataset", "folder", "--data-dir", tmp_path / "images")
    done = cli_here(
        *("train", *images, "--epochs", 2, "--batch-size", 12, "--lr", 0.05, "--device", "cpu"),
        *("--regularizer", "csg", "--regularizer-options", "budget=4", "--out", tmp_path / "trained", "--json"),
    )
    assert done.status == 0, done.err
    assert all(row["penalty"] > 0 for row in done.json["epochs"])
    state = load_file(tmp_path / "trained" / "model.safetensors")
    gate = state["regularizer.csg.gate"]
    assert gate.shape == (3, 64)
    assert not torch.equal(gate, torch.ones(3, 64))
    run = cli_here(
        *("run", *images, "--weights", tmp_path / "trained" / "model.safetensors", "--strategy", "csg", "--k", 2),
        *("--device", "cpu", "--no-refit", "--out", tmp_path / "run", "--json"),
    )
    assert run.status == 0, run.err
    csg.project(gate)
    for c, row in enumerate(run.json["selection"].values()):
        chosen = gate[c, row]
        assert chosen.min() >= gate[c].sort(descending=True).values[1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["strategy"] == "csg"
