"""Networks rewritten to have one linear head: same logits, in eval and in training, and exact at the head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddeep.networks.anatomy import find_anatomy
from ddeep.networks.layer import Layer
from ddeep.networks.trace import example_images, record
from ddeep_plugins_builtin.models.one_head import JoinedHeads, with_one_linear_head


class Averaging(nn.Module):
    """The mean of ``count`` heads, each on features of its own width."""

    def __init__(self, count: int, bias: bool) -> None:
        super().__init__()
        self.bodies = nn.ModuleList([nn.Conv2d(3, 2 + i, 3) for i in range(count)])
        self.heads = nn.ModuleList([nn.Linear(2 + i, 4, bias=bias) for i in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        logits = [head(body(x).mean((2, 3))) for body, head in zip(self.bodies, self.heads, strict=True)]
        return torch.stack(logits).mean(0)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_averaged_heads_are_joined(count: int, bias: bool) -> None:
    torch.manual_seed(0)
    net = Averaging(count, bias)
    x = example_images(net, 6)
    before = net(x)
    joined = with_one_linear_head(net, list(net.heads))
    assert isinstance(joined, JoinedHeads)
    torch.testing.assert_close(joined(x), before, rtol=1e-5, atol=1e-6)
    features = [body(x).mean((2, 3)) for body in joined.backbone.bodies]
    torch.testing.assert_close(joined.backbone(x), torch.cat(features, 1), rtol=1e-5, atol=1e-6)
    found = find_anatomy(record(joined, x))
    assert (found.head, found.layer) == ("head", Layer("backbone", "none"))
    joined(x).sum().backward()
    assert all(parameter.grad is not None for parameter in joined.parameters())


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_on_pooled_maps_becomes_a_linear_layer(bias: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 4, 1, bias=bias), nn.Flatten())
    x = example_images(net, 6)
    before = net(x)
    changed = with_one_linear_head(net, [net[2]])
    torch.testing.assert_close(changed(x), before, rtol=1e-5, atol=1e-6)
    assert (find_anatomy(record(changed, x)).head, find_anatomy(record(changed, x)).layer) == ("2.1", Layer("0"))


def test_everything_else_is_left_alone() -> None:
    single = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    assert with_one_linear_head(single, [single[1]]) is single
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert with_one_linear_head(hidden, [hidden]) is hidden
    assert [type(part) for part in hidden] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    wide = nn.Sequential(nn.Conv2d(3, 5, 3))
    with pytest.raises(ValueError, match="1 x 1"):
        with_one_linear_head(wide, [wide[0]])
