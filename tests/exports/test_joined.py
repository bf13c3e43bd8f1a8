"""Cut networks joined again: the cut of the union where they were exact, side by side where they differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddeep.errors import ConfigError
from ddeep.exports.cut import cut_network
from ddeep.exports.joined import CannotShare, Part, SideBySide, join, union_plan
from ddeep.exports.plan import CutPlan

from .test_cut import NETWORKS, network


def _part(module: nn.Module, head: str, outputs: tuple[int, ...], images: Tensor) -> Part:
    plan = CutPlan.exact(module, head, outputs)
    return Part(plan, cut_network(module, plan, images).state_dict())


@pytest.mark.parametrize("name", ["resnet20", "timm efficientnet_lite0", "timm vit", "torchvision resnet18"])
def test_exact_cuts_make_the_cut_of_the_union(name: str) -> None:
    module, head, images = network(name)
    parts = [_part(module, head, (1, 4), images), _part(module, head, (4, 0), images)]
    stranger = NETWORKS[name][0]().eval()  # the same architecture with other weights
    plan, joined = join(stranger, parts, images)
    union = CutPlan.exact(module, head, (0, 1, 4))
    assert plan == union
    wanted = cut_network(module, union, images)
    found, expected = joined.state_dict(), wanted.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    with torch.no_grad():
        torch.testing.assert_close(joined(images), wanted(images))


def test_parts_that_were_trained_since_cannot_share() -> None:
    module, head, images = network("resnet20")
    parts = [_part(module, head, (1, 4), images), _part(module, head, (0,), images)]
    changed = {**parts[1].state, "conv1.weight": parts[1].state["conv1.weight"] * 1.01}
    with pytest.raises(CannotShare, match=r"different numbers at 'conv1\.weight'"):
        join(module, [parts[0], Part(parts[1].plan, changed)], images)


def test_a_weight_that_no_part_holds_is_missed() -> None:
    """Filter 0 went from one part and filter 1 from the other: nobody knows what lies between them."""
    module, head, images = network("resnet20")
    parts = []
    for outputs, layer in (((1,), "layer1.0.relu1"), ((0,), "layer1.0.relu1")):
        exact = CutPlan.exact(module, head, outputs)
        plan = CutPlan(head, outputs, exact.inputs, {layer: (outputs[0],), "relu": (1 - outputs[0],)})
        parts.append(Part(plan, cut_network(module, plan, images).state_dict()))
    with pytest.raises(CannotShare, match="no part holds all of"):
        join(module, parts, images)


def test_the_union_removes_what_all_remove() -> None:
    one = CutPlan("head", (2,), (0, 3), {"a": (1, 2), "b": (0,)})
    other = CutPlan("head", (0, 2), (1, 3), {"a": (2, 5)})
    assert union_plan([one, other]) == CutPlan("head", (0, 2), (0, 1, 3), {"a": (2,)})
    with pytest.raises(ConfigError, match="different heads: head, top"):
        union_plan([one, CutPlan("top", (0,), (0,))])


def test_side_by_side_each_class_has_its_own_networks_logit() -> None:
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    images = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = SideBySide([first, second], [(1, 5), (5, 0)])(images)
    torch.testing.assert_close(found, torch.stack([second(images)[:, 1], first(images)[:, 0], first(images)[:, 1]], 1))
