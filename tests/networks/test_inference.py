"""Networks made ready for forward passes: folded only where that is exact and unseen, the original never touched."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.networks.device import autocast, resolve_device
from ddeep.networks.hooks import ResponseHooks
from ddeep.networks.inference import FOLDING_TOLERANCE, close, prepare
from ddeep.networks.layer import Layer
from ddeep_plugins_builtin.models.cifar_resnet import resnet20

CPU = torch.device("cpu")


def settled(module: nn.Module) -> nn.Module:
    """``module`` with batch norms that do something: random statistics and parameters."""
    generator = torch.Generator().manual_seed(7)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
            norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.5)  # type: ignore[union-attr]
            nn.init.normal_(norm.weight, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
    return module


def images(count: int = 4, side: int = 16) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def responses(module: nn.Module, layers: list[Layer], shown: Tensor) -> list[Tensor]:
    with torch.no_grad(), ResponseHooks(module, layers, {"logits"}) as taps:
        logits = taps.run(shown)
    assert logits is not None
    return [logits, *(taps.responses[layer.name] for layer in layers)]


def test_every_batch_norm_of_a_resnet_is_folded_and_exact() -> None:
    module, shown = settled(resnet20()), images(16, 32)
    layers = [Layer(name) for name in ("relu", "layer1.0.relu1", "layer2.0.relu2", "layer3.2")]
    ready = prepare(module, layers, CPU, images(8, 32))
    assert norms(ready) == 0
    assert norms(module) == 19
    for found, expected in zip(responses(ready, layers, shown), responses(module.eval(), layers, shown), strict=True):
        assert close(found, expected, FOLDING_TOLERANCE)
    convolutions = [m for m in ready.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)


@pytest.mark.parametrize("wanted", ["layer2.1.conv1", "layer2.1.bn1"])
def test_a_requested_convolution_or_norm_is_not_folded(wanted: str) -> None:
    module, shown = settled(resnet20()).eval(), images(4, 32)
    ready = prepare(module, [Layer(wanted)], CPU, shown)
    assert norms(ready) == 1
    assert isinstance(ready.get_submodule("layer2.1.bn1"), nn.BatchNorm2d)
    (_, found), (_, expected) = (responses(m, [Layer(wanted)], shown) for m in (ready, module))
    assert close(found, expected, FOLDING_TOLERANCE)


def test_nothing_is_folded_without_an_example() -> None:
    assert norms(prepare(settled(resnet20()), [], CPU)) == 19


class Wrapped(nn.Module):
    """The convolution alone in a container that may be asked for: its output is what the norm gets."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3))
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Twice(nn.Module):
    """One convolution with two norms after it, one norm after two convolutions, one pair called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.common = nn.BatchNorm2d(3)
        self.again, self.and_again = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(x)
        y = self.one(y) + self.two(y)
        y = self.common(self.first(y)) + self.common(self.second(y))
        y = self.and_again(self.again(self.and_again(self.again(y))))
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class Branching(nn.Module):
    """Control flow that depends on the images: it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)) if x.sum() > -1e9 else x
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class BatchStatistics(nn.Module):
    """A batch norm without running statistics: nothing to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Aliased(nn.Module):
    """The same convolution and norm under two names each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
        self.body = nn.Sequential(self.conv, self.norm)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))  # type: ignore[no-any-return]


class Reached(nn.Module):
    """The forward pass reads the convolution's weight beside calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)) + self.conv.weight.sum())  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Twice, Branching, BatchStatistics, Aliased, Reached])
def test_whatever_cannot_be_folded_still_gives_what_it_gave(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module, shown = settled(kind()).eval(), images()
    ready = prepare(module, [], CPU, shown)
    with torch.no_grad():
        assert close(ready(shown), module(shown), FOLDING_TOLERANCE)


def test_a_container_of_the_convolution_keeps_its_responses() -> None:
    module, shown, layers = settled(Wrapped()).eval(), images(), [Layer("stem")]
    ready = prepare(module, layers, CPU, shown)
    for found, expected in zip(responses(ready, layers, shown), responses(module, layers, shown), strict=True):
        assert close(found, expected, FOLDING_TOLERANCE)


def test_folding_that_does_not_give_the_same_is_not_used() -> None:
    module = Wrapped()
    with torch.no_grad():  # the norm takes away a bias so large that little is left of what it was added to
        module.stem[0].bias.fill_(1e6)  # type: ignore[union-attr, operator]
        module.norm.running_mean.fill_(1e6)  # type: ignore[union-attr, operator]
    assert norms(prepare(module, [], CPU, images())) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_module_itself_is_untouched(training: bool) -> None:
    module = settled(resnet20()).train(training)
    module.layer1.eval()  # modes may differ within a module
    modes = {name: m.training for name, m in module.named_modules()}
    state, calls = deepcopy(module.state_dict()), []
    handle = module.layer2.register_forward_hook(lambda *_: calls.append(1))
    ready = prepare(module, [Layer("layer3.2")], CPU, images(4, 32))
    assert not ready.training
    assert {name: m.training for name, m in module.named_modules()} == modes
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name]), name
        assert tensor.stride() == state[name].stride(), f"{name} changed its memory format"
    assert list(module.layer2._forward_hooks) == [handle.id]
    assert sum(len(m._forward_hooks) for m in module.modules()) == 1
    theirs = {tensor.data_ptr() for tensor in module.state_dict().values()}
    assert all(tensor.data_ptr() not in theirs for tensor in ready.state_dict().values()), "shared memory"


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match=r"Unknown device 'gpu'.*auto, cpu"):
        resolve_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that must be absent")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "cpu:3", "meta", "xla"])
def test_absent_devices_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' is not available here\. Use one of: auto, cpu"):
        resolve_device(name)


def test_mixed_precision_is_bfloat16_for_the_block_only() -> None:
    layer, shown = nn.Linear(3, 3), torch.ones(1, 3)
    with autocast(CPU, "bf16"):
        assert layer(shown).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert layer(shown).dtype == torch.float32
    assert layer(shown).dtype == torch.float32


def test_close_is_relative_to_the_largest_magnitude_and_never_true_of_nan() -> None:
    a = torch.tensor([1000.0, 0.0])
    assert close(a, a + 0.09, 1e-4)
    assert not close(a, a + 0.11, 1e-4)
    assert close(torch.zeros(3), torch.zeros(3), 1e-4)
    assert not close(a, torch.tensor([1000.0, torch.nan]), 1e-4)
    assert not close(a, torch.zeros(3), 1e-4)
