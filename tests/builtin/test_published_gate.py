"""The gate that the paper's authors publish beside their network loads, and is what the strategy ``csg`` selects by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddeep.data.images import TensorImages
from ddeep.networks.network import load_network
from ddeep.registry.registry import registry
from ddeep_plugins_builtin.metrics.pmi import mutual_information
from tests.reference.mutual_information import pairwise


def test_the_published_gate_is_read_by_its_name(real_data: Callable[[str], Path]) -> None:
    path = real_data("weights/resnet20-csg-gate.pth")
    images = TensorImages.of(torch.zeros(10, 32, 32, 3, dtype=torch.uint8), torch.arange(10), tuple("abcdefghij"))
    spec = registry().find("model", "resnet20")
    network = load_network(spec, images, dataset="cifar10", data_dir=path.parent.parent, weights=str(path))
    gate = network.learned["csg.gate"]
    assert gate.shape == network.module.get_parameter("linear.weight").shape
    # docs/reproduction.md: sorted upwards, as published, a class has its smallest five; the strategy takes the largest.
    for descending, known in ((False, 0.0375091), (True, 0.03394)):
        chosen = gate.argsort(dim=1, descending=descending)[:, :5]
        members = torch.zeros_like(gate, dtype=torch.bool).scatter(1, chosen, True)
        assert mutual_information(members).mean().item() == pytest.approx(known, abs=1e-5)
        rows = [set(row) for row in chosen.tolist()]
        assert pairwise(rows, 64, self_pairs=True) == pytest.approx(known, abs=1e-5)
