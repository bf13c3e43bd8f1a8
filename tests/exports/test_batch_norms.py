"""Batch norms behind removed filters give what they gave: mean and spread, channel by channel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddeep.exports.batch_norms import match_batch_norms
from ddeep.exports.cut import cut_network, kept_channels
from ddeep.exports.plan import CutPlan
from ddeep_plugins_builtin.models.cifar_resnet import resnet20


@pytest.fixture
def whole() -> nn.Module:
    """With statistics that are not those of the images below."""
    torch.manual_seed(0)
    module = resnet20(6).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_().mul_(0.1)
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module


def _batches() -> list[Tensor]:
    return [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def _outputs(module: nn.Module, name: str, batches: list[Tensor]) -> Tensor:
    found: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: found.append(output))
    with torch.no_grad():
        for images in batches:
            module(images)
    handle.remove()
    return torch.cat(found)


def test_where_nothing_was_removed_nothing_changes(whole: nn.Module) -> None:
    """Though the images have other statistics than the norms. One batch: an average of several is not that of all."""
    plan, images = CutPlan("linear", (0, 1), tuple(range(64))), _batches()[0]
    small, left = cut_network(whole, plan, images), kept_channels(whole, plan, images)
    match_batch_norms(whole, small, left, [images])
    with torch.no_grad():
        torch.testing.assert_close(small(images), whole(images)[:, :2], rtol=5e-2, atol=5e-3)
        torch.testing.assert_close(small.train()(images), whole(images)[:, :2], rtol=1e-3, atol=1e-3)


def test_every_channel_has_the_mean_and_spread_it_had(whole: nn.Module) -> None:
    zeroed = {"layer1.0.relu1": (0, 3, 5), "layer2.1.relu1": tuple(range(16))}
    plan, batches = CutPlan("linear", (0, 1), tuple(range(64)), zeroed), _batches()
    small, left = cut_network(whole, plan, batches[0]), kept_channels(whole, plan, batches[0])
    match_batch_norms(whole, small, left, batches)
    assert not any(part.training for part in small.modules())
    for name in ("layer1.0.bn1", "layer1.1.bn2", "layer2.1.bn2", "layer3.0.bn1"):
        norm = small.get_submodule(name)
        found = _outputs(small, name, batches).transpose(0, 1).flatten(1)
        wanted = _outputs(whole, name, batches)[:, list(left[name].kept)].transpose(0, 1).flatten(1)
        torch.testing.assert_close(found.mean(1), wanted.mean(1), rtol=0, atol=0.05)
        torch.testing.assert_close(found.std(1), wanted.std(1), rtol=0.1, atol=0.01)
        assert norm.momentum == 0.1


def test_a_network_without_batch_norms_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    before = module[1].weight.clone()
    match_batch_norms(module, module, {}, [torch.randn(4, 3, 2, 2)])
    assert torch.equal(module[1].weight, before)
