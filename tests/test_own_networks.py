"""Networks as people have them: whatever feeds the head, however they are wrapped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import ddeep
from ddeep.errors import ConfigError
from tests.support.bodies import WIDTH, Body, loader, made
from tests.support.toys import CLASSES, pictures


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


def test_a_softmax_at_the_end_is_what_to_leave_out() -> None:
    model = nn.Sequential(made(Body), nn.Softmax(1)).eval()
    with pytest.raises(ConfigError, match="Its outputs sum to 1, as after a softmax: leave that out"):
        ddeep.run(model=model, train=loader(), test=loader(), strategy="contribution", k=2)
    unnormalised = nn.Sequential(made(Body), nn.Tanh()).eval()
    with pytest.raises(ConfigError, match=r"Choose one with layer=, by a name of model.named_modules\(\)"):
        ddeep.run(model=unnormalised, train=loader(), test=loader(), strategy="contribution", k=2)
