"""The Python API finds layers and heads by itself, says which it took, and asks where it cannot know."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ddeep
from ddeep.errors import ConfigError, DdeepError
from ddeep.networks.layer import Layer
from tests.support.toys import CLASSES, FILTERS, Toy, loader, pictures, toy


def test_the_layer_that_feeds_the_head_is_the_default() -> None:
    model, train = toy(), loader()
    named = ddeep.select(model, train, strategy="paper", k=2, layer="relu")
    assert ddeep.select(model, train, strategy="paper", k=2) == named
    assert ddeep.gather(model, train).layer == Layer("relu")


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


def test_a_selection_knows_the_layer_to_be_measured_at() -> None:
    selection = ddeep.select(toy(), loader(), strategy="paper", k=2, layer="norm")
    assert selection.source == {"strategy": "paper", "k": 2, "layer": "norm", "head": None, "budget": None}
    assert ddeep.select(toy(), loader(), strategy="paper", k=2).source["head"] == "head"
    with pytest.warns(UserWarning, match="layer 'norm' has negative ones"):
        assert ddeep.measure(toy(), loader(), selection)["class_selectivity"] is None
    assert ddeep.measure(toy(), loader(), selection, layer="relu")["class_selectivity"] is not None
