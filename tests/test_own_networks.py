"""Networks as people have them: whatever feeds the head, whatever they return, however they are wrapped."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import ddeep
from ddeep.errors import ConfigError, DataError
from ddeep.networks.logits import read_logits
from tests.support.toys import CLASSES, pictures

WIDTH = 6


class Body(nn.Module):
    """Two convolutions of which no submodule gives the maps that are pooled: the ReLUs are functions."""

    def __init__(self, features: int = WIDTH) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.fc = nn.Linear(features, CLASSES)

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.second(torch.relu(self.first(x))))

    def features(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.features(x))


class Maximum(Body):
    def features(self, x: Tensor) -> Tensor:
        return self.maps(x).amax((2, 3))


class Attention(Body):
    def features(self, x: Tensor) -> Tensor:
        tokens = self.maps(x).flatten(2)
        return (tokens * tokens.mean(1, keepdim=True).softmax(2)).sum(2)


class Concatenation(Body):
    def __init__(self) -> None:
        super().__init__(2 * WIDTH)

    def features(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


class Flattened(Body):
    def __init__(self) -> None:
        super().__init__(4 * WIDTH)

    def features(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.maps(x), 2).flatten(1)


class Mlp(Body):
    def __init__(self) -> None:
        super().__init__(8)
        self.hidden = nn.Linear(WIDTH, 8)

    def features(self, x: Tensor) -> Tensor:
        return F.gelu(self.hidden(super().features(x)))


class AtEveryPosition(Body):
    """The head gives logits everywhere, which are averaged: the same as logits of the average."""

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).permute(0, 2, 3, 1)).mean((1, 2))


class AtTheToken(Body):
    """As in CLIP's attention pool: the last linear layer runs over all tokens, of which one counts."""

    def forward(self, x: Tensor) -> Any:
        tokens = self.maps(x).flatten(2).transpose(1, 2)
        return self.fc(torch.cat([tokens.amax(1, keepdim=True), tokens], 1))[:, 0]


SHAPES: list[type[Body]] = [
    Body, Maximum, Attention, Concatenation, Flattened, Mlp, AtEveryPosition, AtTheToken,
]  # fmt: skip


def loader(count: int = 80, seed: int = 1, **settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*pictures(count, seed=seed)), batch_size=16, **settings)


def made(kind: type[nn.Module]) -> Any:
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize("kind", SHAPES)
def test_what_feeds_the_head_is_read_at_the_head(kind: type[Body]) -> None:
    model, (images, labels) = made(kind), pictures(80)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    selection = ddeep.select(model, loader(), strategy="contribution", k=2)
    assert selection.source["layer"] == "fc:input"
    given: list[Tensor] = []
    handle = model.fc.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
    with torch.no_grad():
        logits = model(images)
    handle.remove()
    features = given[0] if given[0].dim() == 2 else given[0].mean((1, 2)) if given[0].dim() == 4 else given[0][:, 0]
    torch.testing.assert_close(F.linear(features, model.fc.weight, model.fc.bias), logits)
    responses, truth = ddeep.gather(model, loader()).cached_responses()
    torch.testing.assert_close(responses, features)
    assert torch.equal(truth, labels)
    # z_c = b_c + Σ_{j ∈ selection(c)} W_cj r_j
    expected = F.linear(features, model.fc.weight * selection.mask(), model.fc.bias)
    decomposed = ddeep.decompose(model, selection)
    with torch.no_grad():
        torch.testing.assert_close(decomposed(images), expected)
    refitted = ddeep.refit(model, loader(), selection)
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        assert loss(refitted(images), labels) < loss(decomposed(images), labels)
    assert ddeep.evaluate(decomposed, loader()) == pytest.approx(
        100 * (expected.argmax(1) == labels).double().mean().item()
    )
    figures = ddeep.measure(
        model, loader(), selection, metrics=["psi", "essentiality", "knockout"], test_batches=loader()
    )
    assert 0 < figures["psi"]["median"] < 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in model.modules())


def test_gradient_times_activation_at_the_head_is_weight_times_response() -> None:
    model = made(Maximum)
    by_gradient = ddeep.select(model, loader(), strategy="gradient-activation", k=WIDTH)
    by_weight = ddeep.select(model, loader(), strategy="contribution", k=WIDTH)
    assert by_gradient.filters == by_weight.filters


def test_the_input_of_any_linear_layer_can_be_named() -> None:
    inner = ddeep.select(made(Mlp), loader(), strategy="paper", k=2, layer="hidden:input")
    assert inner.num_filters == WIDTH
    with pytest.raises(ConfigError, match=r"No layer of Mlp matches 'hiden:input'. Did you mean 'hidden:input'"):
        ddeep.select(made(Mlp), loader(), strategy="paper", k=2, layer="hiden:input")
    with pytest.raises(ConfigError, match="holds no convolution or linear layer"):
        ddeep.select(made(Mlp), loader(), strategy="filter-norm", k=2)  # the head's own rows are classes


Outputs = namedtuple("Outputs", ["aux", "logits"])


class ModelOutput(OrderedDict[str, Any]):
    """As transformers has it: a mapping whose entries are attributes, too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "pack",
    [
        lambda logits, x: (logits, x),
        lambda logits, x: [logits, logits / 2, x],
        lambda logits, x: {"features": x.mean((2, 3)), "logits": logits},
        lambda logits, x: {"maps": x, "scores": logits},
        lambda logits, x: Outputs(x.mean((2, 3)), logits),
        lambda logits, _x: ModelOutput(loss=torch.zeros(()), logits=logits),
    ],
)
def test_logits_are_found_in_what_a_network_returns(pack: Any) -> None:
    class Packing(Body):
        def forward(self, x: Tensor) -> Any:
            return pack(super().forward(x), x)

    plain, packing = made(Body), made(Packing)
    options: dict[str, Any] = {"strategy": "contribution", "k": 2}
    selection = ddeep.select(packing, loader(), **options)
    assert selection == ddeep.select(plain, loader(), **options)
    assert ddeep.evaluate(packing, loader()) == ddeep.evaluate(plain, loader())
    decomposed = ddeep.decompose(packing, selection)
    images, _ = pictures(8)
    with torch.no_grad():
        assert torch.equal(read_logits(decomposed(images)), ddeep.decompose(plain, selection)(images))


def test_what_holds_no_logits_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"returns a tuple of \(2, 3, 4, 4\), int, in which there are no logits"):
        read_logits((torch.zeros(2, 3, 4, 4), 5))
    with pytest.raises(ConfigError, match=r"returns a dict of maps, in which there are no logits \(N, C\)"):
        read_logits({"maps": torch.zeros(2, 3, 4, 4)})
    with pytest.raises(ConfigError, match="returns a NoneType, in which"):
        read_logits(None)


class Loads:
    """Batches as some loader gives them, more than once."""

    def __init__(self, pack: Any) -> None:
        self.pack = pack
        self.dataset = range(80)

    def __iter__(self) -> Iterator[Any]:
        for images, labels in loader():
            yield self.pack(images, labels)


@pytest.mark.parametrize(
    "pack",
    [
        lambda images, labels: (images, labels, torch.arange(len(labels))),
        lambda images, labels: [images, labels, ["path"] * len(labels)],
        lambda images, labels: {"pixel_values": images, "labels": labels},
        lambda images, labels: {"id": 3, "image": images, "label": labels.to(torch.uint8)},
        lambda images, labels: {"images": images, "targets": labels.to(torch.int32)},
    ],
)
def test_batches_of_any_form(pack: Any) -> None:
    model = made(Body)
    expected = ddeep.select(model, loader(), strategy="paper", k=2)
    assert ddeep.select(model, Loads(pack), strategy="paper", k=2) == expected
    assert ddeep.evaluate(model, Loads(pack)) == ddeep.evaluate(model, loader())


def test_batches_that_cannot_be_read_say_what_they_are() -> None:
    images, labels = pictures(8)
    cases: list[tuple[Any, str]] = [
        (images, "not a Tensor"),
        (
            {"pixels": images, "labels": labels},
            "a mapping with 'pixel_values' and 'labels'; not a dict of pixels, labels",
        ),
        ((images, labels.tolist()), "not a tuple of Tensor, list"),
        ((images, labels[:, None]), r"not int64 \(8, 1\): give labels\[:, 0\]"),
        ((images, labels[:3]), "There are 3 labels for a batch of 8 images"),
        (
            (images, F.one_hot(labels, CLASSES).float()),
            "multi-label data. ddeep is about networks that give an image one",
        ),
    ]
    for batch, problem in cases:
        with pytest.raises(DataError, match=problem):
            ddeep.select(made(Body), [batch], strategy="paper", k=2)


def test_accuracies_that_depend_on_the_batch_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.LazyLinear(CLASSES)
    )
    images, labels = pictures(8)
    model(images)
    ddeep.evaluate(model, [(images, labels)])
    assert "These batch norms keep no running statistics: 1." in " ".join(capsys.readouterr().err.split())


def test_networks_of_any_precision() -> None:
    for dtype in (torch.bfloat16, torch.float64):
        model = made(Body).to(dtype)
        images, labels = pictures(40)
        found = ddeep.select(model, [(images.to(dtype), labels)], strategy="contribution", k=2)
        assert found.num_filters == WIDTH
        refitted = ddeep.refit(model, [(images.to(dtype), labels)], found)
        assert 0 <= ddeep.evaluate(refitted, [(images.to(dtype), labels)]) <= 100


class ModelEma(nn.Module):
    """A moving average of a training loop's own, as timm has it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def _with_a_compiled_part(model: Any) -> nn.Module:
    model.second = torch.compile(model.second)
    return model  # type: ignore[no-any-return]


WRAPPERS = [
    torch.compile, nn.DataParallel, AveragedModel, ModelEma, lambda m: torch.compile(nn.DataParallel(m)),
    _with_a_compiled_part,
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrapped_networks_are_read_as_the_network_inside(wrap: Any) -> None:
    model, options = made(Body), {"strategy": "gradient-activation", "k": 2}
    expected = ddeep.select(model, loader(), **options)
    wrapped = wrap(made(Body))
    assert ddeep.select(wrapped, loader(), **options) == expected
    assert ddeep.select(wrapped, loader(), strategy="paper", k=2, layer="second").source["layer"] == "second"
    assert ddeep.evaluate(wrapped, loader()) == ddeep.evaluate(model, loader())
    decomposed, refitted = ddeep.decompose(wrapped, expected), ddeep.refit(wrapped, loader(), expected)
    images, _ = pictures(8)
    with torch.no_grad():
        assert torch.equal(decomposed(images), ddeep.decompose(model, expected)(images))
    assert type(refitted) is Body


def test_everything_works_in_inference_mode_and_can_be_trained_afterwards() -> None:
    outside = ddeep.select(made(Body), loader(), strategy="gradient-activation", k=2)
    with torch.inference_mode():
        model = made(Body)
        images, labels = pictures(80)
        batches = [(images, labels)]
        selection = ddeep.select(model, batches, strategy="gradient-activation", k=2)
        decomposed, refitted = ddeep.decompose(model, selection), ddeep.refit(model, batches, selection)
        ddeep.evaluate(model, batches)
        ddeep.measure(model, batches, selection)
    assert selection.filters == outside.filters
    shown, truth = pictures(8)
    for trained in (decomposed, refitted):
        F.cross_entropy(trained(shown), truth).backward()
        assert trained.get_submodule("fc").weight.grad is not None
