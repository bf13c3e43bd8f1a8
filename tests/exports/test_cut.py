"""A cut network gives the logits of the whole one, with nothing computed that nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.exports.cut import cut_network
from ddeep.exports.formats import write_network
from ddeep.exports.plan import CutPlan, inner_layers
from ddeep.networks.hooks import forward_hooks
from ddeep.networks.trace import example_images
from ddeep_plugins_builtin.models.cifar_resnet import resnet20
from tests.support.toys import toy

CLASSES, KEPT = 6, (4, 1)


def _timm(name: str, **settings: object) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=CLASSES, **settings)  # type: ignore[no-any-return]


def _torchvision(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, num_classes=CLASSES)  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "resnet20": (lambda: resnet20(CLASSES), "linear", 32),
    "timm resnet50": (lambda: _timm("resnet50", layers=[1, 1, 1, 2]), "fc", 64),
    "timm efficientnet_lite0": (lambda: _timm("efficientnet_lite0"), "classifier", 64),
    "timm vit": (lambda: _timm("vit_tiny_patch16_224", img_size=32, depth=2), "head", 32),
    "timm convnext": (lambda: _timm("convnext_atto", depths=(1, 1, 1, 1)), "head.fc", 64),
    "torchvision resnet18": (lambda: _torchvision("resnet18"), "fc", 64),
    "torchvision mobilenet_v3_small": (lambda: _torchvision("mobilenet_v3_small"), "classifier.3", 64),
    "torchvision densenet121": (lambda: _torchvision("densenet121"), "classifier", 64),
}


def network(name: str) -> tuple[nn.Module, str, Tensor]:
    """Random weights and statistics; every class sees five of the head's inputs."""
    build, head, size = NETWORKS[name]
    torch.manual_seed(0)
    module = build().eval()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_().mul_(0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(part.bias, -0.2, 0.2)
    linear = module.get_submodule(head)
    with torch.no_grad():
        seen = torch.rand(linear.weight.shape).argsort(1) < 5  # type: ignore[union-attr, arg-type]
        linear.weight.mul_(seen)  # type: ignore[union-attr, operator]
    return module, head, example_images(module, size)


def masked(module: nn.Module, zeroed: dict[str, tuple[int, ...]], channels: dict[str, int], images: Tensor) -> Tensor:
    """Logits of the whole network with those filters' outputs set to zero: what a cut must give."""

    def silence(name: str) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            axis = 1 if output.dim() == 4 and output.shape[1] == channels[name] else -1
            return output.index_fill(axis, torch.tensor(zeroed[name]), 0.0)

        return hook

    with forward_hooks(module, {name: silence(name) for name in zeroed}), torch.no_grad():
        logits: Tensor = module(images)
    return logits


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= 1e-5 * wanted.abs().max())


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kept_classes_keep_their_logits(name: str) -> None:
    module, head, images = network(name)
    small = cut_network(module, CutPlan.exact(module, head, KEPT), images)
    with torch.no_grad():
        assert _close(small(images[:1]), module(images[:1])[:, KEPT])
    used = int((module.get_submodule(head).weight[list(KEPT)] != 0).any(0).sum())
    assert small.get_submodule(head).weight.shape == (len(KEPT), used)


@pytest.mark.parametrize("name", NETWORKS)
def test_inner_filters_go_as_if_they_were_silent(name: str) -> None:
    module, head, images = network(name)
    inner = inner_layers(module, head, images)
    assert inner
    halves = {layer: tuple(torch.randperm(count)[: count // 2].tolist()) for layer, count in inner.items()}
    plan = CutPlan(head, KEPT, CutPlan.exact(module, head, KEPT).inputs, halves)
    small = cut_network(module, plan, images)
    with torch.no_grad():
        assert _close(small(images), masked(module, halves, inner, images)[:, KEPT])
    assert _parameters(small) < 0.8 * _parameters(module)


def test_a_residual_stream_is_cut_by_index_selection() -> None:
    """The last block's second convolution computes the kept filters alone, though its stream has all of them."""
    module, head, images = network("resnet20")
    plan = CutPlan.exact(module, head, KEPT)
    small = cut_network(module, plan, images)
    assert small.get_submodule("layer3.2.conv2").weight.shape[0] == len(plan.inputs) < 64
    assert small.get_submodule("layer3.1.conv2").weight.shape[0] == 64
    with torch.no_grad():
        assert _close(small(images), module(images)[:, KEPT])


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_filters_of_any_traced_layer_may_go(data: st.DataObject) -> None:
    """Streams, branches and inner layers together, down to one filter each: still the masked network's logits."""
    module, head, images = network("resnet20")
    layers = {"relu": 16, "layer1.0.bn2": 16, "layer1.1.relu2": 16, "layer2.0.relu1": 32, "layer2.0.bn2": 32}
    layers |= {"layer2.0.relu2": 32, "layer3.1.bn2": 64, "layer3.2.relu1": 64, "layer3.2.conv1": 64}
    chosen = data.draw(st.lists(st.sampled_from(sorted(layers)), unique=True, max_size=5))
    zeroed = {}
    for name in chosen:
        row = data.draw(st.sets(st.integers(0, layers[name] - 1), min_size=1, max_size=layers[name] - 1))
        zeroed[name] = tuple(sorted(row))
    plan = CutPlan(head, KEPT, CutPlan.exact(module, head, KEPT).inputs, zeroed)
    small = cut_network(module, plan, images)
    with torch.no_grad():
        assert _close(small(images), masked(module, zeroed, layers, images)[:, KEPT])


def test_a_cut_network_can_be_exported(tmp_path: Path) -> None:
    module, head, images = network("resnet20")
    small = cut_network(module, CutPlan.exact(module, head, KEPT), images)
    difference = write_network(small, images, tmp_path / "network.pt2", "pt2", {"a": 1})
    assert difference is not None
    assert difference <= 1e-4


def test_the_network_given_stays_as_it_is() -> None:
    module, head, images = network("resnet20")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    cut_network(module, CutPlan.exact(module, head, KEPT), images)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_plan_survives_json() -> None:
    plan = CutPlan("linear", (3, 1), (0, 5), {"layer1.0.relu1": (1, 2)})
    assert CutPlan.from_json(plan.to_json()) == plan


class _Fork(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class _Forked(nn.Module):
    """Its way depends on what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), _Fork())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


def test_what_cannot_be_traced_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot be traced in body\.1 \(_Fork\)"):
        cut_network(_Forked(), CutPlan("head", (0,), (0,)), torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (CutPlan("relu", (0,), (0,)), "not the output of its head 'relu'"),
        (CutPlan("head", (), (0,)), "Classes .* are not some of the 4"),
        (CutPlan("head", (4,), (0,)), "Classes .* are not some of the 4"),
        (CutPlan("head", (0,), ()), "use none of the head's 6 filters"),
        (CutPlan("head", (0,), (6,)), "use none of the head's 6 filters"),
        (CutPlan("head", (0,), (0,), {"nowhere": (1,)}), "'nowhere' cannot be removed"),
        (CutPlan("head", (0,), (0,), {"norm": (9,)}), "has 6 filters, and no filter 9"),
        (CutPlan("head", (0,), (0,), {"norm": tuple(range(6))}), "would lose all of its 6 filters"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: CutPlan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cut_network(toy(), plan, torch.rand(2, 3, 8, 8))
