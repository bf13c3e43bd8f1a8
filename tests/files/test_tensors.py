"""Tensors that share memory are written in full, so that a run with tied weights can be loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import ddeep
from ddeep.files.tensors import write_tensors
from ddeep.networks.weights import load_strictly, read_state_dict
from ddeep.selections.selection import Selection
from tests.support.toys import FILTERS, Toy, pictures


class Tied(Toy):
    """The head's weight is that of a layer used in between, and its bias a part of another parameter."""

    def __init__(self) -> None:
        super().__init__(classes=FILTERS)
        self.mix = nn.Linear(FILTERS, FILTERS)
        self.mix.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.relu(self.norm(self.conv(x))).mean((2, 3))
        logits: Tensor = self.head(self.mix(pooled))
        return logits


def test_a_tied_network_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, (images, _) = Tied().eval(), pictures(5)
    write_tensors(module.state_dict(), tmp_path / "tied.safetensors")
    assert load_file(tmp_path / "tied.safetensors").keys() == module.state_dict().keys()
    torch.manual_seed(1)
    other = Tied().eval()
    load_strictly(other, read_state_dict(tmp_path / "tied.safetensors"))
    with torch.no_grad():
        assert torch.equal(other(images), module(images))


def test_a_decomposed_tied_network_comes_back(tmp_path: Path) -> None:
    """Its head is a copy of its own; what it was tied to stays dense."""
    torch.manual_seed(0)
    module, (images, _) = Tied().eval(), pictures(5)
    selection = Selection.of([[c % FILTERS, (c + 1) % FILTERS] for c in range(FILTERS)], FILTERS)
    decomposed = ddeep.decompose(module, selection, head="head")
    write_tensors(decomposed.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)
    again = ddeep.decompose(Tied().eval(), selection, head="head")
    load_strictly(again, read_state_dict(tmp_path / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(again(images), decomposed(images))
        assert not torch.allclose(decomposed(images), module(images))


def test_parts_of_one_tensor_are_written_in_full(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    views = {"whole": whole, "first": whole[:6], "last": whole[6:].view(2, 3), "turned": whole.view(3, 4).T}
    write_tensors(views, tmp_path / "views.safetensors")
    found = load_file(tmp_path / "views.safetensors")
    assert found.keys() == views.keys()
    assert all(torch.equal(found[name], view) for name, view in views.items())
