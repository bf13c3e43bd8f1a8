"""The Python API: a few lines for any module and any loader, the right answers, and clear words where it cannot."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

import ddeep
from ddeep.errors import ConfigError, SelectionError
from ddeep.heads.penalty import fit
from ddeep.heads.refit import refit
from ddeep.networks.head import Head
from ddeep.statistics.basic import MassTopCounts, TopCounts
from tests.reference.counts import mass_top_counts, top_counts
from tests.reference.filter_images import diversity
from tests.reference.mutual_information import pairwise
from tests.reference.psi import psi
from tests.support.toys import CLASSES, FILTERS, loader, pictures, pooled, toy


def test_no_module_hides_a_function_of_the_api() -> None:
    """Importing the submodule ``ddeep.x`` would replace the function ``ddeep.x``."""
    lazy = [name for name in ddeep.__all__ if name.islower()]
    assert "decompose" in lazy
    for name in lazy:
        assert name == "hookimpl" or find_spec(f"ddeep.{name}") is None
        assert callable(getattr(ddeep, name))


def test_select_decompose_evaluate_measure() -> None:
    model, train, test = toy(), loader(80), loader(40, seed=2)
    selection = ddeep.select(model, train, strategy="paper", k=2, layer="relu")
    images, labels = pictures(80)
    responses = pooled(model, images)
    counts = top_counts(responses.tolist(), labels.tolist(), CLASSES, 2)
    loudness = [responses.abs().double()[labels == c].sum(0).tolist() for c in range(CLASSES)]
    for c in range(CLASSES):
        order = sorted(range(FILTERS), key=lambda j, c=c: (-counts[c][j], -loudness[c][j], j))
        assert list(selection.filters[c]) == order[:2]
    decomposed = ddeep.decompose(model, selection)
    shown, truth = pictures(40, seed=2)
    with torch.no_grad():
        expected = 100 * (decomposed(shown).argmax(1) == truth).double().mean().item()
    assert ddeep.evaluate(decomposed, test) == pytest.approx(expected)
    figures = ddeep.measure(model, train, selection, layer="relu")
    layer_psi = psi(responses.tolist(), labels.tolist(), CLASSES, 0.5)
    assert figures["psi"]["per_class"] == pytest.approx(layer_psi)
    assert figures["pmi"]["without_self_pairs"] == pytest.approx(
        pairwise([set(row) for row in selection.filters], FILTERS, self_pairs=False)
    )


def test_refit_fits_the_decomposed_head_and_nothing_else() -> None:
    model, train = toy(), loader(200)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    selection = ddeep.select(model, train, strategy="contribution", k=2)
    found = ddeep.refit(model, train, selection, l2=1e-4)
    images, labels = pictures(200)
    dense = model.head.weight.detach(), model.head.bias.detach()
    expected = refit(pooled(model, images), labels, *dense, selection.mask())
    head = found.get_submodule("head")
    torch.testing.assert_close(head.weight, expected.head.weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(head.bias, expected.head.bias, rtol=1e-3, atol=1e-3)
    after = found.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        assert loss(found(images), labels) < loss(ddeep.decompose(model, selection)(images), labels)


def test_the_penalty_of_the_refit_is_chosen_unless_given() -> None:
    model, train = toy(), loader(200)
    images, labels = pictures(200)
    selection = ddeep.select(model, train, strategy="contribution", k=2)
    ((expected, penalty),) = fit(pooled(model, images), labels, Head.of(model.head), selection.mask()[None], seed=3)
    assert penalty.chosen
    found = ddeep.refit(model, train, selection, seed=3)
    torch.testing.assert_close(found.get_parameter("head.weight"), expected.weight, rtol=1e-3, atol=1e-3)


def test_refit_refuses_what_it_cannot_fit_before_the_pass() -> None:
    model, train = toy(), loader()
    selection = ddeep.select(model, train, strategy="paper", k=2, layer="conv")
    with pytest.raises(ConfigError, match="made at layer 'conv', which does not feed the head"):
        ddeep.refit(model, train, selection)
    with pytest.raises(SelectionError, match="for 2 classes and 6 filters, but the head has 4 outputs"):
        ddeep.refit(model, train, ddeep.Selection.of([[0], [1]], FILTERS))


def test_gather_gives_responses_and_statistics_of_both_rounds() -> None:
    model, (images, labels) = toy(), pictures(40)
    evidence = ddeep.gather(model, loader(), layer="relu", statistics=[TopCounts(3), MassTopCounts(0.5)])
    assert evidence.responses is not None
    assert evidence.labels is not None
    torch.testing.assert_close(evidence.responses, pooled(model, images))
    assert torch.equal(evidence.labels, labels)
    table, truth = evidence.responses.tolist(), labels.tolist()
    assert evidence[TopCounts(3)].counts.tolist() == top_counts(table, truth, CLASSES, 3)
    assert evidence[MassTopCounts(0.5)].counts.tolist() == mass_top_counts(table, truth, CLASSES, 0.5)


def test_the_module_is_left_as_it_was() -> None:
    model = toy().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    selection = ddeep.select(model, loader(), strategy="paper", k=2, layer="relu")
    ddeep.measure(model, loader(), selection, layer="relu")
    ddeep.evaluate(model, loader())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_training_mode_module_is_examined_in_eval_mode() -> None:
    one = ddeep.select(toy().train(), loader(), strategy="paper", k=3, layer="relu")
    assert one == ddeep.select(toy().eval(), loader(), strategy="paper", k=3, layer="relu")


def test_metrics_that_run_on_from_a_layer_do_so_over_the_test_batches() -> None:
    model, train = toy(), loader(80)
    selection = ddeep.select(model, train, strategy="paper", k=2)
    images, labels = pictures(40, seed=2)
    found = ddeep.measure(model, train, selection, metrics=["sid"], test_batches=loader(40, seed=2))["sid"]
    with torch.no_grad():
        maps = model.relu(model.norm(model.conv(images))).flatten(2).numpy()
    expected = [diversity(one[list(selection.filters[c])]) for one, c in zip(maps, labels.tolist(), strict=True)]
    assert found["mean"] == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    inner = ddeep.select(model, train, strategy="paper", k=2, layer="conv")
    noisy = ddeep.measure(model, train, inner, metrics=["essentiality:1"], test_batches=loader(40, seed=2))
    assert noisy["essentiality:1"]["gap"] is not None


@pytest.mark.parametrize("metric", ["precision", "essentiality", "sid", "knockout"])
def test_metrics_of_the_test_split_ask_for_its_batches(metric: str) -> None:
    selection = ddeep.select(toy(), loader(), strategy="paper", k=2)
    with pytest.raises(ConfigError, match=f"'{metric}' reads the test split: give test_batches"):
        ddeep.measure(toy(), loader(), selection, metrics=[metric])


def test_a_decomposed_module_is_measured_like_any_other() -> None:
    model = toy()
    selection = ddeep.select(model, loader(), strategy="paper", k=2)
    decomposed = ddeep.decompose(model, selection)
    assert ddeep.select(decomposed, loader(), strategy="paper", k=2) == selection
    assert ddeep.measure(decomposed, loader(), selection) == ddeep.measure(model, loader(), selection)


def test_tab_completion_finds_the_api() -> None:
    assert set(ddeep.__all__) <= set(dir(ddeep))
