"""The decomposed head: each class from its own filters and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ddeep.errors import ConfigError, SelectionError
from ddeep.heads.decomposed import DecomposedLinear, decompose
from ddeep.selections.selection import Selection
from tests.reference.decomposed_head import logits
from tests.support.effort import examples
from tests.support.toys import CLASSES, FILTERS, pictures, pooled, toy

CHOSEN = [[0, 3], [5], [2, 1, 4], [3]]


@given(seed=st.integers(0, 999), chosen=st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=5))
@examples(40)
def test_logits_are_those_of_the_formula(seed: int, chosen: list[set[int]]) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(len(chosen), 6, generator=generator), torch.randn(len(chosen), generator=generator)
    responses = torch.randn(3, 6, generator=generator)
    head = DecomposedLinear(weight, bias, Selection.of(map(sorted, chosen), 6).mask())
    for row, found in zip(responses.tolist(), head(responses).tolist(), strict=True):
        assert found == pytest.approx(logits(row, weight.tolist(), bias.tolist(), chosen), abs=1e-5)


def test_a_decomposed_network_is_a_copy_with_another_head() -> None:
    module, (images, _) = toy(), pictures(5)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    decomposed = decompose(module, Selection.of(CHOSEN, FILTERS))
    assert type(module.head) is nn.Linear
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    with torch.no_grad():
        found = decomposed(images)
        weight, bias = module.head.weight.tolist(), module.head.bias.tolist()
    for row, one in zip(pooled(module, images).tolist(), found.tolist(), strict=True):
        assert one == pytest.approx(logits(row, weight, bias, CHOSEN), abs=1e-5)


def test_every_filter_selected_is_the_network_itself() -> None:
    module, (images, _) = toy(), pictures(5)
    decomposed = decompose(module, Selection.of([range(FILTERS)] * CLASSES, FILTERS))
    with torch.no_grad():
        assert torch.equal(decomposed(images), module(images))


def test_absent_classes_keep_their_dense_row() -> None:
    module, (images, _) = toy(), pictures(5)
    decomposed = decompose(module, Selection.of([[0], [], [1], [2]], FILTERS, absent=[1]))
    with torch.no_grad():
        torch.testing.assert_close(decomposed(images)[:, 1], module(images)[:, 1])
        assert not torch.allclose(decomposed(images)[:, 0], module(images)[:, 0])


def test_a_head_without_bias_gets_one_of_zeros() -> None:
    decomposed = decompose(toy(bias=False), Selection.of(CHOSEN, FILTERS))
    assert torch.equal(decomposed.head.bias, torch.zeros(CLASSES))  # type: ignore[union-attr, arg-type]


def test_weights_outside_the_selection_get_no_gradient() -> None:
    selection = Selection.of(CHOSEN, FILTERS)
    decomposed = decompose(toy(), selection).train()
    images, labels = pictures(16)
    nn.functional.cross_entropy(decomposed(images), labels).backward()
    grad = decomposed.head.weight.grad  # type: ignore[union-attr]
    assert (grad[~selection.mask()] == 0).all()  # type: ignore[index, operator]
    assert (grad[selection.mask()] != 0).any()  # type: ignore[index, operator]


@pytest.fixture
def wide() -> DecomposedLinear:
    """A head wide enough for a sparse product; one class has no filter, one has many."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(100, 512, generator=generator) < 0.02
    mask[3], mask[7, :300] = False, True
    return DecomposedLinear(
        torch.randn(100, 512, generator=generator), torch.randn(100, generator=generator), mask
    ).requires_grad_(False)


def dense(head: DecomposedLinear, responses: torch.Tensor) -> torch.Tensor:
    weight = (head.weight * head.mask).double()
    return nn.functional.linear(responses.double(), weight, head.bias.double()).float()


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="needs a build of torch with MKL")
def test_wide_heads_are_computed_from_the_selected_weights_alone(
    wide: DecomposedLinear, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = torch.randn(3, 5, 512, generator=torch.Generator().manual_seed(1))
    expected = dense(wide, responses)
    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, "linear", None)  # the dense product is not even asked for
        for shape in ((3, 5), (15,), (1, 15)):
            found = wide(responses.view(*shape, 512))
            assert found.is_contiguous()
            torch.testing.assert_close(found, expected.view(*shape, 100), rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            wide.weight.mul_(2)
        torch.testing.assert_close(wide(responses) - wide.bias, 2 * (expected - wide.bias), rtol=1e-5, atol=1e-4)


def test_wide_heads_are_dense_where_gradients_are_recorded_or_precision_is_lower(wide: DecomposedLinear) -> None:
    responses = torch.randn(4, 512, generator=torch.Generator().manual_seed(1))
    expected = dense(wide, responses)
    inner = responses.clone().requires_grad_()
    wide(inner).sum().backward()
    torch.testing.assert_close(inner.grad, (wide.weight * wide.mask).sum(0).expand(4, -1), rtol=1e-4, atol=1e-4)
    wide.requires_grad_()
    wide(responses).square().sum().backward()
    assert wide.weight.grad is not None
    assert (wide.weight.grad[~wide.mask] == 0).all()
    assert (wide.weight.grad[wide.mask] != 0).any()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert wide(responses).dtype == torch.bfloat16
    traced = torch.fx.symbolic_trace(nn.Sequential(wide, nn.ReLU()))
    torch.testing.assert_close(traced(responses), expected.relu(), rtol=1e-5, atol=1e-4)


def test_a_loaded_mask_is_the_one_that_counts(wide: DecomposedLinear) -> None:
    responses = torch.randn(4, 512, generator=torch.Generator().manual_seed(1))
    other = DecomposedLinear(torch.zeros(100, 512), None, ~wide.mask).requires_grad_(False)
    other.load_state_dict(wide.state_dict())
    assert set(wide.state_dict()) == {"weight", "bias", "mask"}
    torch.testing.assert_close(other(responses), dense(wide, responses), rtol=1e-5, atol=1e-5)


def test_a_decomposed_network_can_be_decomposed_again() -> None:
    module, (images, _) = toy(), pictures(5)
    first = decompose(module, Selection.of([[0, 1, 2]] * 4, FILTERS))
    second = decompose(first, Selection.of([[0, 5]] * 4, FILTERS))
    with torch.no_grad():
        expected = decompose(module, Selection.of([[0]] * 4, FILTERS))(images)
        torch.testing.assert_close(second(images), expected)  # filter 5 was gone after the first


def test_only_a_linear_layer_can_be_decomposed() -> None:
    selection = Selection.of(CHOSEN, FILTERS)
    with pytest.raises(ConfigError, match=r"head 'conv' is a Conv2d; only a final nn.Linear"):
        decompose(toy(), selection, head="conv")
    with pytest.raises(ConfigError, match=r"Unknown head 'haed' in Toy. Did you mean 'head'"):
        decompose(toy(), selection, head="haed")
    with pytest.raises(ConfigError, match=r"Sequential has no nn.Linear"):
        decompose(nn.Sequential(nn.Conv2d(3, 6, 1)), selection)


def spare(trained: nn.Module) -> nn.Module:
    """The network with an auxiliary head of the same shape, declared after its own, that no forward pass calls."""
    torch.manual_seed(1)
    trained.aux = nn.Linear(FILTERS, CLASSES)
    return trained


def test_an_unused_linear_layer_is_not_taken_for_the_head() -> None:
    """Decomposed at the spare one the network would lose nothing, whatever the selection."""
    module, (images, _) = spare(toy()), pictures(5)
    selection = Selection.of(CHOSEN, FILTERS)
    with pytest.raises(ConfigError, match=r"could be the head: head, aux\. Name the head with head="):
        decompose(module, selection)
    for found in (decompose(module, selection, head="head"), decompose(module, selection.named([], head="head"))):
        weight, bias = module.head.weight.tolist(), module.head.bias.tolist()  # type: ignore[operator, union-attr]
        for row, one in zip(pooled(module, images).tolist(), found(images).tolist(), strict=True):
            assert one == pytest.approx(logits(row, weight, bias, CHOSEN), abs=1e-5)


def test_without_a_head_of_its_size_what_there_is_is_listed() -> None:
    two = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 5))
    with pytest.raises(ConfigError, match=r"4 outputs and 6 inputs.*: 0 \(3 by 2\), 2 \(5 by 3\)"):
        decompose(two, Selection.of(CHOSEN, FILTERS))


def test_a_selection_at_a_layer_that_does_not_feed_the_head_is_not_decomposed_unasked() -> None:
    selection = Selection.of(CHOSEN, FILTERS).named([], layer="norm", head=None)
    with pytest.raises(ConfigError, match="made at layer 'norm', which does not feed the head"):
        decompose(toy(), selection)
    assert decompose(toy(), selection, head="head") is not None


@pytest.mark.parametrize(
    ("chosen", "filters"), [(CHOSEN, FILTERS + 1), (CHOSEN[:3], FILTERS), ([*CHOSEN, [0]], FILTERS), (CHOSEN, 10**8)]
)
def test_a_selection_that_does_not_fit_is_refused(chosen: list[list[int]], filters: int) -> None:
    selection = Selection.of(chosen, filters)
    with pytest.raises(
        SelectionError, match=f"{len(chosen)} classes and {filters} filters, but the head has 4 outputs"
    ):
        decompose(toy(), selection)
