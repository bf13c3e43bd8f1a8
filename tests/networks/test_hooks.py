"""Reading layers while a network runs: pooling, repeated calls, work in place, early stops, hooks that always go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.networks.hooks import ResponseHooks
from ddeep.networks.layer import Layer


class Made(nn.Module):
    """Returns what a function makes of its input: an output of any shape, a tuple, an error."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.make = make
        self.calls = 0

    def forward(self, x: Tensor) -> object:
        self.calls += 1
        return self.make(x)


def hooks_of(module: nn.Module) -> int:
    """Hooks anywhere in ``module``."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def read(output: Tensor, **layer: str) -> Tensor:
    """The responses of a layer with this output."""
    module = nn.Sequential(Made(lambda _: output), Made(lambda _: torch.zeros(len(output), 2)))
    with ResponseHooks(module, [Layer("0", **layer)]) as taps:  # type: ignore[arg-type]
        taps.run(torch.zeros(len(output), 1))
    return taps.responses["0"]


def average(output: Tensor, image: int, pick: Callable[[Tensor], Tensor]) -> float:
    values = pick(output[image]).reshape(-1).double()
    return float(sum(values.tolist()) / len(values))


@pytest.mark.parametrize(
    ("shape", "settings", "pick"),
    [
        ((2, 3, 4, 5), {}, lambda image, j: image[j]),
        ((2, 4, 5, 3), {"layout": "NHWC"}, lambda image, j: image[:, :, j]),
        ((2, 5, 3), {}, lambda image, j: image[:, j]),
        ((2, 5, 3), {"pool": "token"}, lambda image, j: image[0, j]),
        ((2, 3), {}, lambda image, j: image[j]),
        ((2, 3), {"pool": "none"}, lambda image, j: image[j]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_averages_positions(
    shape: tuple[int, ...], settings: dict[str, str], pick: Callable[[Tensor, int], Tensor], dtype: torch.dtype
) -> None:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    responses = read(output, **settings)
    assert responses.shape == (2, 3)
    assert responses.dtype == torch.float32
    for image in range(2):
        for j in range(3):
            expected = average(output, image, lambda one, j=j: pick(one, j))
            assert responses[image, j].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 5, 6)])
def test_outputs_without_filters_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"'0'.*shape \(2.*ddeep layers"):
        read(torch.zeros(shape))


@pytest.mark.parametrize("output", [(torch.zeros(2, 3), torch.zeros(2, 3)), {"out": torch.zeros(2, 3)}, None])
def test_outputs_that_are_not_tensors_are_refused(output: object) -> None:
    module = nn.Sequential(Made(lambda _: output), Made(lambda _: torch.zeros(2, 2)))
    with (
        ResponseHooks(module, [Layer("0")]) as taps,
        pytest.raises(ConfigError, match=f"'0' returns a {type(output).__name__}"),
    ):
        taps.run(torch.zeros(2, 1))
    assert hooks_of(module) == 0


class Repeated(nn.Module):
    """One module called ``times`` times, then a head."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.again = Made(lambda x: x + 1)
        self.head = Made(lambda x: x[:, :2])

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.again(x)
        return self.head(x)  # type: ignore[no-any-return]


def test_a_module_called_several_times_is_read_at_its_last_call() -> None:
    module = Repeated(3)
    with ResponseHooks(module, [Layer("again")]) as taps:
        for _ in range(2):  # the second pass stops early, and must not stop at the first call
            taps.run(torch.zeros(2, 4))
            assert taps.responses["again"].tolist() == [[3.0] * 4] * 2
    assert module.again.calls == 6
    assert module.head.calls == 1


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5, 3), (2, 3)])
@pytest.mark.parametrize("pool", ["mean", "token"])
def test_work_in_place_after_the_layer_changes_nothing(shape: tuple[int, ...], pool: str) -> None:
    output = torch.randn(shape)
    expected = read(output.clone(), pool=pool)
    module = nn.Sequential(Made(lambda _: output), nn.ReLU(inplace=True), Made(lambda x: x.flatten(1)[:, :2]))
    with ResponseHooks(module, [Layer("0", pool)], {"logits"}) as taps:  # type: ignore[arg-type]
        taps.run(torch.zeros(2, 1))
        assert torch.equal(taps.responses["0"], expected)
    assert (output >= 0).all(), "the network itself did not run as it should"


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 500, 3), (2, 3)])
@pytest.mark.parametrize("pool", ["mean", "token"])
def test_no_feature_map_outlives_its_layer(shape: tuple[int, ...], pool: str) -> None:
    responses = read(torch.randn(shape), pool=pool)
    assert responses.untyped_storage().nbytes() == responses.nbytes


def test_the_pass_stops_after_the_last_layer_needed() -> None:
    module = nn.Sequential(*(Made(lambda x: x) for _ in range(5)))
    with ResponseHooks(module, [Layer("1"), Layer("2")]) as taps:
        for _ in range(4):  # the first goes to the end, to see which comes last
            assert taps.run(torch.zeros(2, 3)) is None
    assert [m.calls for m in module] == [4, 4, 4, 1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("extra", ["logits", "gradient_activation"])
def test_the_pass_goes_to_the_end_where_logits_are_needed(extra: str) -> None:
    module = nn.Sequential(*(Made(lambda x: x) for _ in range(4)))
    with ResponseHooks(module, [Layer("1")], {extra}) as taps:
        for _ in range(3):
            assert taps.run(torch.zeros(2, 3)) is not None
    assert [m.calls for m in module] == [3] * 4  # type: ignore[union-attr]


def test_zeros_are_the_share_of_positions() -> None:
    output = torch.tensor([[[[0.0, 1.0], [-0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, -1.0]]]])
    module = nn.Sequential(Made(lambda _: output), Made(lambda _: torch.zeros(1, 2)))
    with ResponseHooks(module, [Layer("0")], {"zeros"}) as taps:
        taps.run(torch.zeros(1, 1))
    assert taps.zeros["0"].tolist() == [[0.5, 1.0, 0.0]]


class Sometimes(nn.Module):
    """Calls ``layer`` only for images that are not black."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x) if x.any() else x)  # type: ignore[no-any-return]


def test_a_layer_not_called_shows_nothing_of_the_batch_before() -> None:
    with ResponseHooks(Sometimes(), [Layer("layer")], {"logits", "zeros"}) as taps:
        taps.run(torch.ones(2, 3))
        assert taps.responses
        taps.run(torch.zeros(2, 3))
        assert not taps.responses
        assert not taps.zeros


def boom(_: Tensor) -> Tensor:
    raise RuntimeError("boom")


@pytest.mark.parametrize("gradients", [False, True])
def test_hooks_are_gone_whatever_happens(gradients: bool) -> None:
    module = nn.Sequential(nn.Linear(3, 3), Made(boom))

    def run() -> None:
        with ResponseHooks(module, [Layer("0")], {"gradient_activation"}) as taps:
            assert hooks_of(module) == 1
            if gradients:
                taps.run_with_gradients(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
            taps.run(torch.zeros(2, 3))

    with pytest.raises(RuntimeError, match="boom"):
        run()
    assert hooks_of(module) == 0


def test_an_unknown_layer_leaves_no_hook_behind() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(ConfigError, match="Unknown layer '7'"), ResponseHooks(module, [Layer("0"), Layer("7")]):
        pass
    assert hooks_of(module) == 0


class Small(nn.Module):
    """Convolution, ReLU in place, average, linear: the pooled ``relu`` is the head's input."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Tokens whose first, or whose mean, is the head's input."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.Linear(3, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return self.head(tokens[:, 0] if self.pool == "token" else tokens.mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        (Small(), Layer("relu")),
        (Small(inplace=False), Layer("relu")),
        (Tokens("token"), Layer("norm", "token")),
        (Tokens("mean"), Layer("norm")),
    ],
)
def test_gradient_times_activation_is_weight_times_response(module: nn.Module, layer: Layer) -> None:
    generator = torch.Generator().manual_seed(3)
    images, labels = torch.randn(8, 3, 6, 6, generator=generator), torch.arange(8) % 4
    with torch.no_grad(), ResponseHooks(module.eval(), [layer], {"gradient_activation"}) as taps:
        logits, products = taps.run_with_gradients(images, labels)
        responses = taps.responses[layer.name]
        expected = module.head.weight[labels] * responses  # type: ignore[union-attr, index]
        torch.testing.assert_close(products[layer.name], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(logits, module(images))
        assert not logits.requires_grad
        assert not responses.requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_layer_that_does_not_reach_the_logits_has_no_gradients() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Linear(3, 5)
            self.head = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.head(x)  # type: ignore[no-any-return]

    taps = ResponseHooks(Aside(), [Layer("aside")], {"gradient_activation"})
    with taps, pytest.raises(ConfigError, match="No gradient of the logits reaches layer 'aside'"):
        taps.run_with_gradients(torch.ones(2, 3), torch.tensor([0, 1]))
