"""Heads and layers found in networks small enough to know the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.networks.anatomy import describe_layers, find_anatomy, get_layers, match_layers
from ddeep.networks.layer import Layer, axes_of
from ddeep.networks.trace import example_images, record


class Net(nn.Module):
    """A body, what lies between it and the head, and a head."""

    def __init__(self, body: nn.Module, features: int, **parts: nn.Module) -> None:
        super().__init__()
        self.body = body
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Linear(features, 3)

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.pooled(self.body(x)))


class ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def convolutions() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True))


def look(net: nn.Module, **options: Any) -> Any:
    torch.manual_seed(0)
    return find_anatomy(record(net, example_images(net, 8)), **options)


def test_maps_are_found_before_they_are_pooled() -> None:
    class WithPool(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.flat(self.pool(self.body(x)))))

    net = WithPool(convolutions(), 5, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), drop=nn.Dropout(0.5))
    found = look(net)
    assert (found.head, found.layer, found.problem) == ("head", Layer("body", "mean", "NCHW"), "")


def test_maps_with_filters_last() -> None:
    class Last(Net):
        def pooled(self, x: Tensor) -> Tensor:
            return self.norm(x).mean((1, 2))

    found = look(Last(nn.Sequential(nn.Conv2d(3, 5, 3), ChannelsLast()), 5, norm=nn.LayerNorm(5)))
    assert found.layer == Layer("norm", "mean", "NHWC")


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_tokens(pool: str) -> None:
    class Transformer(Net):
        def pooled(self, x: Tensor) -> Tensor:
            return x[:, 0] if pool == "token" else x.mean(1)

    found = look(Transformer(nn.Sequential(nn.Conv2d(3, 5, 4, 4), Tokens(), nn.LayerNorm(5)), 5))
    assert found.layer is not None
    assert (found.layer.name, found.layer.pool) == ("body", pool)


def test_flat_features_are_read_before_the_dropout() -> None:
    layers = (nn.Flatten(), nn.Linear(3 * 64, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3))
    assert look(nn.Sequential(*layers)).layer == Layer("2", "none")


def test_an_activation_called_twice_counts_at_its_last_call() -> None:
    class Shared(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.first(x))
            return self.head(self.pooled(self.act(self.body(x))))

    net = Shared(nn.Conv2d(4, 5, 3), 5, first=nn.Conv2d(3, 4, 3), act=nn.ReLU())
    assert look(net).layer == Layer("act", "mean", "NCHW")
    rows = {row.name: row for row in describe_layers(record(net, example_images(net, 8)))}
    assert (rows["act"].calls, rows["act"].filters, rows["act"].shape) == (2, 5, (2, 5, 4, 4))

    # Were the last call another one, the responses read from `act` would not be the head's input.
    class Reversed(Shared):
        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.body(self.first(x)))
            self.act(x[:, :2])
            return self.head(self.pooled(x))

    found = look(Reversed(nn.Conv2d(4, 5, 3), 5, first=nn.Conv2d(3, 4, 3), act=nn.ReLU()))
    assert found.layer == Layer("head:input", "none")


def test_residual_blocks_that_do_nothing_yet_do_not_hide_the_last() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.scale * x

    class Residual(Net):
        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return self.head(self.end(self.pooled(x)))

    blocks = nn.ModuleList([convolutions(), Block(), Block()])
    assert look(Residual(nn.Identity(), 5, blocks=blocks, end=nn.Identity())).layer == Layer("blocks.2", "mean", "NCHW")


def test_what_cannot_be_found_says_why() -> None:
    class TwoHeads(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.pooled(self.body(x))
            return (self.head(x) + self.other(x)) / 2

    class Softmax(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).softmax(1)

    class Maps(Net):
        def forward(self, x: Tensor) -> Any:
            return {"features": x}

    class Largest(Net):
        def pooled(self, x: Tensor) -> Tensor:
            return x.flatten(2).transpose(1, 2)

        def forward(self, x: Tensor) -> Any:
            return super().forward(x).amax(1)

    class Twice(Net):
        def forward(self, x: Tensor) -> Any:
            super().forward(x.flip(2))
            return super().forward(x)

    convolution = nn.Sequential(convolutions(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 3, 1), nn.Flatten())
    assert look(convolution).problem == "the logits are the output of the convolution '2', not of a linear layer"
    both = look(TwoHeads(convolutions(), 5, other=nn.Linear(5, 3)))
    assert both.problem == "the logits are computed from 'head' and 'other', not the output of one of them"
    assert look(Softmax(convolutions(), 5)).problem.startswith("the logits are computed from 'head'")
    assert look(Maps(convolutions(), 5)).problem == "the network returns a dict, not logits (N, C)"
    assert look(Largest(convolutions(), 5)).problem == "the logits are not the output of a linear layer"
    assert look(Largest(convolutions(), 5), head="head").problem == "the head 'head' is not given one vector an image"
    assert look(Twice(convolutions(), 5)).problem == "the head 'head' is called 2 times in one pass"


def test_a_head_can_be_named() -> None:
    class TwoHeads(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.pooled(self.body(x))
            return self.head(x) + 0 * self.other(2 * x)

    net = TwoHeads(convolutions(), 5, other=nn.Linear(5, 3))
    assert look(net, head="head").layer == Layer("body", "mean", "NCHW")
    with pytest.raises(ConfigError, match=r"no head 'hed'. Did you mean 'head'"):
        look(net, head="hed")
    with pytest.raises(ConfigError, match=r"The head 'body' is a Sequential, not an nn.Linear"):
        look(net, head="body")


def test_looking_changes_nothing() -> None:
    net = Net(convolutions(), 5, spare=nn.Dropout())
    net.body[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [child.training for child in net.modules()]
    describe_layers(record(net, example_images(net, 8)))
    assert [child.training for child in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.body[0].weight = nn.Parameter(torch.zeros(5, 4, 3, 3))  # a pass that breaks
    with pytest.raises(RuntimeError):
        describe_layers(record(net, example_images(net, 8)))
    assert not any(child._forward_hooks for child in net.modules())
    assert [child.training for child in net.modules()] == modes


class Odd(nn.Module):
    """Submodules whose outputs cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.windows, self.conv = Pairs(), Windows(), nn.Conv2d(3, 5, 1)
        self.never = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.windows(self.pair(x)[0])
        return self.conv(x).mean((2, 3))


class Pairs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x) * 4, 3, -1)


def test_outputs_that_cannot_be_read_are_named() -> None:
    net = Odd()
    example = example_images(net, 8)
    rows = {row.name: row for row in describe_layers(record(net, example))}
    assert list(rows) == ["pair", "windows", "conv"]
    assert rows["pair"].problem == "returns a tuple, not one tensor"
    assert rows["windows"].problem == "returns 8 rows for 2 images"
    assert (rows["conv"].problem, rows["conv"].filters) == ("", 5)
    with pytest.raises(ConfigError, match="Layer 'pair' returns a tuple, not one tensor"):
        get_layers(record(net, example), ["pair"])
    with pytest.raises(ConfigError, match="Layer 'never' is never called"):
        get_layers(record(net, example), ["never"])
    with pytest.raises(ConfigError, match="No layer that '\\*i\\*' matches can be read: 'pair' returns a tuple"):
        get_layers(record(net, example), ["*i*"])
    assert get_layers(record(net, example), ["*"]) == [Layer("conv", "mean", "NCHW")]


def test_layers_are_described_where_nothing_is_computed() -> None:
    """Networks too large to run are looked at on meta tensors, which hold no values to compare."""
    with torch.device("meta"):
        net = Net(convolutions(), 5)
    rows = describe_layers(record(net, torch.empty(2, 3, 8, 8, device="meta")))
    assert [(row.name, row.shape, row.filters) for row in rows if row.name in ("body", "head")] == [
        ("body", (2, 5, 6, 6), 5),
        ("head", (2, 3), 3),
    ]


def test_names_and_globs_choose_layers() -> None:
    net = nn.Sequential(convolutions(), convolutions(), nn.Flatten())
    assert match_layers(net, ["1.2", "0.*", "0.1"]) == ("0.0", "0.1", "0.2", "1.2")
    named = Net(convolutions(), 5)
    with pytest.raises(ConfigError, match=r"No layer of Net matches 'bodi'. Did you mean 'body'"):
        match_layers(named, ["head", "bodi"])


@pytest.mark.parametrize(
    ("module", "shape", "nearby", "axes"),
    [
        (nn.ReLU(), (2, 64, 7, 7), None, "NCHW"),
        (nn.ReLU(), (2, 7, 7, 64), None, "NHWC"),
        (nn.ReLU(), (2, 8, 8, 8), "NHWC", "NHWC"),
        (nn.ReLU(), (2, 8, 8, 8), None, "NCHW"),
        (nn.Conv2d(3, 8, 1), (2, 8, 8, 8), "NHWC", "NCHW"),
        (nn.Linear(3, 8), (2, 8, 8, 8), "NCHW", "NHWC"),
        (nn.Linear(3, 8), (2, 4, 9, 8), None, "NHWC"),
        (nn.ReLU(), (2, 9, 8), None, "NTC"),
        (nn.ReLU(), (2, 8), None, "NC"),
        (nn.ReLU(), (2,), None, None),
        (nn.ReLU(), (2, 3, 4, 5, 6), None, None),
    ],
)
def test_axes(module: nn.Module, shape: tuple[int, ...], nearby: Any, axes: str | None) -> None:
    assert axes_of(module, shape, nearby) == axes


def test_recording_leaves_every_mode_as_it_was() -> None:
    net = Net(convolutions(), 5)
    net.train()
    net.body[1].eval()  # a norm that somebody has frozen
    before = {name: module.training for name, module in net.named_modules()}
    record(net, example_images(net, 8))
    assert {name: module.training for name, module in net.named_modules()} == before
    assert set(before.values()) == {True, False}
