"""The Python API: a few lines for any module and any loader, the right answers, and clear words where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import ddeep
from ddeep.errors import ConfigError, DataError, DdeepError, SelectionError
from ddeep.heads.penalty import fit
from ddeep.heads.refit import refit
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.statistics.basic import Confusion, MassTopCounts, TopCounts
from tests.reference.counts import mass_top_counts, top_counts
from tests.reference.filter_images import diversity
from tests.reference.mutual_information import pairwise
from tests.reference.psi import psi
from tests.support.toys import CLASSES, FILTERS, Toy, pictures, pooled, toy


def loader(count: int = 40, seed: int = 1, **settings: object) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(TensorDataset(*pictures(count, seed=seed)), batch_size=7, **settings)  # type: ignore[arg-type]


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


def test_the_layer_that_feeds_the_head_is_the_default() -> None:
    model, train = toy(), loader()
    named = ddeep.select(model, train, strategy="paper", k=2, layer="relu")
    assert ddeep.select(model, train, strategy="paper", k=2) == named
    assert ddeep.gather(model, train).layer == Layer("relu")


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


class Channels(nn.Module):
    """A layer with its channels last, as in Swin and ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, FILTERS, 3)
        self.last = nn.Linear(FILTERS, FILTERS)
        self.head = nn.Linear(FILTERS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """A class token feeds the head, as in ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, FILTERS)
        self.head = nn.Linear(FILTERS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x.flatten(2).transpose(1, 2))[:, 0])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("kind", "name"), [(Channels, "last"), (Tokens, "embed")])
def test_layouts_and_class_tokens_are_seen_by_themselves(kind: type[nn.Module], name: str) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    given: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _m, inputs: given.append(inputs[0]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model(pictures(40)[0])
    expected = given[0]
    evidence = ddeep.gather(model, loader(), layer=name)
    assert evidence.responses is not None
    torch.testing.assert_close(evidence.responses, expected, rtol=1e-4, atol=1e-5)


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


def test_loaders_of_all_sorts() -> None:
    images, labels = pictures(40)
    expected = ddeep.gather(toy(), loader(), layer="relu", statistics=[TopCounts(2)])[TopCounts(2)].counts
    batches = [(images[i : i + 9], labels[i : i + 9]) for i in range(0, 40, 9)]
    as_list = ddeep.gather(toy(), batches, layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(as_list[TopCounts(2)].counts, expected)
    shuffled = ddeep.gather(toy(), loader(shuffle=True), layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(shuffled[TopCounts(2)].counts, expected)
    small = [(images[i : i + 9], labels[i : i + 9].to(torch.int32)) for i in range(0, 40, 9)]
    of_int32 = ddeep.gather(toy(), small, layer="relu", statistics=[TopCounts(2)])
    assert torch.equal(of_int32[TopCounts(2)].counts, expected)
    dropped = ddeep.gather(toy(), loader(drop_last=True), layer="relu")
    assert int(dropped.class_counts.sum()) == 35
    assert dropped.responses is not None
    assert len(dropped.responses) == 35
    drawn = loader(sampler=WeightedRandomSampler([1.0] * 40, 100, replacement=True))
    more = ddeep.gather(toy(), drawn, layer="relu")
    assert int(more.class_counts.sum()) == 100
    assert more.responses is not None
    assert len(more.responses) == 100


class Announced:
    """Says it holds fewer images than it does."""

    dataset = [0] * 10

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([pictures(8), pictures(8)])


def test_batches_that_cannot_be_used_are_refused() -> None:
    cases: list[tuple[object, str]] = [
        ((pictures(8) for _ in range(2)), "reads the batches more than once"),
        ([], "The batches hold no images"),
        (Announced(), "more images than the 10 they announced"),
    ]
    for batches, problem in cases:
        with pytest.raises(DdeepError, match=problem):
            ddeep.select(toy(), batches, strategy="paper", k=2, layer="relu")  # type: ignore[arg-type]


def test_labels_that_would_give_a_wrong_figure_are_refused_everywhere() -> None:
    """Compared as they are they give 606, 100 or 2.5 % correct, say, without a word."""
    images, labels = pictures(8)
    model, good = toy(), [pictures(8)]
    selection = ddeep.select(model, good, strategy="paper", k=2)
    cases: list[tuple[object, str]] = [
        (labels[:, None], r"int64 \(8, 1\): give labels\[:, 0\]"),
        (nn.functional.one_hot(labels, 4), r"Labels of shape \(8, 4\)"),
        (labels.float(), r"not float32 \(8,\)"),
        (labels == 1, r"not bool \(8,\)"),
        (labels + 1, "Labels run from .* to 4, but the network has 4 outputs"),
        (labels - 1, "Labels run from -1"),
        (labels[:7], "7 labels for a batch of 8 images"),
    ]
    for given, problem in cases:
        batches: Any = [(images, given)]
        for use in (
            lambda b: ddeep.evaluate(model, b),
            lambda b: ddeep.gather(model, b, layer="relu"),
            lambda b: ddeep.select(model, b, strategy="paper", k=2),
            lambda b: ddeep.refit(model, b, selection),
            lambda b: ddeep.measure(model, b, selection),
            lambda b: ddeep.measure(model, good, selection, metrics=["precision"], test_batches=b),
        ):
            with pytest.raises(DataError, match=problem):
                use(batches)


class Breaking(Toy):
    """Divides by what is zero for a dark image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (x.abs().sum((1, 2, 3)) / x.abs().sum((1, 2, 3)))[:, None]


@pytest.mark.parametrize("dark", [0, 30])
def test_logits_that_are_not_finite_are_no_class(dark: int) -> None:
    images, labels = pictures(40)
    images[dark] = 0
    batches = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)]
    torch.manual_seed(0)
    model = Breaking().eval()
    with pytest.raises(DataError, match="NaN or infinite logits"):
        ddeep.evaluate(model, batches)
    with pytest.raises(DataError, match="NaN or infinite logits"):
        ddeep.gather(model, batches, layer="relu", statistics=[Confusion()])


def test_what_is_no_table_of_logits_is_not_evaluated() -> None:
    class Maps(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)  # type: ignore[no-any-return]

    with pytest.raises(ConfigError, match=r"tensor of shape \(7, 6, 8, 8\) for 7 images, not logits"):
        ddeep.evaluate(Maps(), loader())


def test_layers_heads_and_devices_that_are_not_there_are_refused() -> None:
    def select(model: nn.Module | None = None, **settings: object) -> None:
        ddeep.select(model or toy(), loader(), **{"strategy": "paper", "k": 2, **settings})  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"'rellu'.* Did you mean 'relu'"):
        select(layer="rellu")
    with pytest.raises(ConfigError, match=r"'rellu'.* Did you mean 'relu'"):
        select(layer=Layer("rellu"))
    with pytest.raises(ConfigError, match=r"'\*' stands for 4 layers"):
        select(layer="*")
    with pytest.raises(ConfigError, match="'haed'"):
        select(head="haed")
    with pytest.raises(ConfigError, match="Unknown device 'gpu'"):
        select(layer="relu", device="gpu")
    with pytest.raises(DdeepError, match=r"'papper'.* Did you mean 'paper'"):
        select(strategy="papper")
    for k in (0, 7, 1.5, -2, float("nan")):
        with pytest.raises(ConfigError, match="k = "):
            select(layer="relu", k=k)


class Skipping(Toy):
    """The head sees something else than a pooled layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)).amax((2, 3)))  # type: ignore[no-any-return]


class Twice(Toy):
    """The head is called twice, so that its input is not one thing."""

    def forward(self, x: Tensor) -> Tensor:
        self.head(self.relu(self.conv(x)).mean((2, 3)))
        return super().forward(x)


def test_where_no_layer_feeds_the_head_its_input_does_or_one_must_be_named() -> None:
    found = ddeep.select(Skipping().eval(), loader(), strategy="paper", k=2)
    assert (found.source["layer"], found.num_filters) == ("head:input", FILTERS)
    with pytest.raises(ConfigError, match=r"No layer feeds the head: .*called 2 times.*layer="):
        ddeep.select(Twice().eval(), loader(), strategy="paper", k=2)
    assert ddeep.select(Twice().eval(), loader(), strategy="paper", k=2, layer="conv").num_filters == FILTERS


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


class Spare(Toy):
    """A linear layer of the head's shape, declared after it, that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(FILTERS, CLASSES)


class Alike(Spare):
    """Two heads with the same weights: which one gives the logits cannot be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.aux.load_state_dict(self.head.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        self.aux(self.relu(self.norm(self.conv(x))).mean((2, 3)))
        return super().forward(x)


class Sure(Toy):
    """Its output are log-probabilities: the head's output, changed."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(1)


def test_every_function_takes_the_same_head() -> None:
    torch.manual_seed(0)
    model = Spare().eval()
    selection = ddeep.select(model, loader(), strategy="contribution", k=1)
    assert selection.source["head"] == "head"
    for found in (ddeep.decompose(model, selection), ddeep.refit(model, loader(), selection)):
        assert isinstance(found.get_submodule("head"), ddeep.DecomposedLinear)
        assert not isinstance(found.get_submodule("aux"), ddeep.DecomposedLinear)


def test_a_head_that_cannot_be_told_must_be_named() -> None:
    torch.manual_seed(0)
    for model, problem in ((Alike(), "output of 'aux' and 'head' alike: name one"), (Sure(), "computed from 'head'")):
        with pytest.raises(ConfigError, match=f"No head is found: the logits are .*{problem}.*head="):
            ddeep.select(model.eval(), loader(), strategy="paper", k=2)
        at_layer = ddeep.select(model, loader(), strategy="paper", k=2, layer="relu")
        with pytest.raises(ConfigError, match="does not feed the head"):
            ddeep.decompose(model, at_layer)
        named = ddeep.select(model, loader(), strategy="paper", k=2, head="head")
        assert named.filters == at_layer.filters
        assert named.source["head"] == "head"
        assert isinstance(ddeep.decompose(model, named).get_submodule("head"), ddeep.DecomposedLinear)


def test_a_decomposed_module_is_measured_like_any_other() -> None:
    model = toy()
    selection = ddeep.select(model, loader(), strategy="paper", k=2)
    decomposed = ddeep.decompose(model, selection)
    assert ddeep.select(decomposed, loader(), strategy="paper", k=2) == selection
    assert ddeep.measure(decomposed, loader(), selection) == ddeep.measure(model, loader(), selection)


def test_a_selection_knows_the_layer_to_be_measured_at() -> None:
    selection = ddeep.select(toy(), loader(), strategy="paper", k=2, layer="norm")
    assert selection.source == {"strategy": "paper", "k": 2, "layer": "norm", "head": None, "budget": None}
    assert ddeep.select(toy(), loader(), strategy="paper", k=2).source["head"] == "head"
    with pytest.warns(UserWarning, match="layer 'norm' has negative ones"):
        assert ddeep.measure(toy(), loader(), selection)["class_selectivity"] is None
    assert ddeep.measure(toy(), loader(), selection, layer="relu")["class_selectivity"] is not None


def test_tab_completion_finds_the_api() -> None:
    assert set(ddeep.__all__) <= set(dir(ddeep))


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(DataError, match="no images"):
        ddeep.evaluate(toy(), [])
