"""An edited network is another one: what its code tells, and where that tells nothing, what it gives."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.evidence.code import code_hash, network_hash
from ddeep.evidence.store import gather
from ddeep.evidence.subject import Subject
from ddeep.networks.layer import Layer
from ddeep.networks.network import Network
from ddeep.networks.weights import weights_hash
from ddeep.registry.specs import WeightsSpec
from ddeep.statistics.basic import ClassSums, TopCounts
from tests.support.toys import CLASSES, FILTERS, Toy

NETWORK = """
from torch import nn
from torch.nn import functional
from edited_helper import halved

class Net(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.act, self.scale, self.strides = functional.relu, scale, (1, 2)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(halved(self.act(x)) * self.scale)

def build(classes):
    return Net(1.0)
"""
HELPER = "def halved(x):\n    return x / 2\n"


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The hash of the network as these texts define it."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(network: str = NETWORK, helper: str = HELPER, **attributes: object) -> str:
        for name, text in (("edited_network", network), ("edited_helper", helper)):
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
            sys.modules.pop(name, None)
        import edited_network  # type: ignore[import-not-found]

        module = edited_network.build(2)
        for name, value in attributes.items():
            setattr(module, name, value)
        return network_hash(module, edited_network.build)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return of


def test_what_a_network_computes_by_is_in_its_hash(hashed: Callable[..., str]) -> None:
    same = hashed()
    assert hashed() == same
    changed = {
        "its class": hashed(NETWORK.replace("* self.scale", "+ self.scale")),
        "its builder": hashed(NETWORK.replace("Net(1.0)", "Net(2.0)")),
        "the file of a function it calls": hashed(helper=HELPER.replace("2", "3")),
        "a number it keeps": hashed(scale=2.0),
        "numbers it keeps": hashed(strides=(2, 2)),
        "a function it keeps": hashed(act=nn.functional.gelu),
        "a function in a list": hashed(acts=[torch.tanh]),
    }
    assert same not in changed.values(), [name for name, found in changed.items() if found == same]
    assert len(set(changed.values())) == len(changed)


def test_weights_and_where_it_lies_are_not(hashed: Callable[..., str]) -> None:
    torch.manual_seed(0)
    one = hashed()
    torch.manual_seed(1)
    assert hashed() == one


def test_a_statistic_takes_in_what_it_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for helper in ("return x", "return x", "return 2 * x"):
        (tmp_path / "edited_sums.py").write_text(
            "from edited_of import of\nclass Sums:\n    def update(self, x):\n        of(x)\n"
        )
        (tmp_path / "edited_of.py").write_text(f"def of(x):\n    {helper}\n")
        for name in ("edited_sums", "edited_of"):
            sys.modules.pop(name, None)
        import edited_sums  # type: ignore[import-not-found]

        found.append(code_hash([edited_sums.Sums]))
    assert found[0] == found[1] != found[2]


LOUD = {"factor": 1.0}  # what no key can know of


class Hidden(Toy):
    """Its responses depend on a number that neither its attributes nor its weights hold."""

    def forward(self, x: Tensor) -> Tensor:
        factors = torch.tensor([LOUD["factor"]] + [1.0] * (FILTERS - 1))
        logits: Tensor = self.head(self.relu(factors[:, None, None] * self.norm(self.conv(x))).mean((2, 3)))
        return logits


def subject(module: nn.Module | None = None, batch_size: int = 256) -> Subject:
    torch.manual_seed(0)
    module = (module or Hidden()).eval()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (24, 8, 8, 3), generator=generator, dtype=torch.uint8)
    images = TensorImages.of(pixels, torch.arange(24) % CLASSES, tuple("abcd"))
    recipe = Preprocessing.of(WeightsSpec("w", dataset="d", mean=(0.5,) * 3, std=(0.5,) * 3, size=8))
    network = Network("hidden", module, None, None, recipe, "w", weights_hash(module.state_dict()), images.classes)
    return Subject(network, {"train": images, "test": images}, torch.device("cpu"), batch_size=batch_size)


def responses_of(made: Subject) -> Tensor:
    layer = Layer("relu")
    evidence = gather(made, "train", {layer: [TopCounts(2), ClassSums()]}, keep=[layer])[layer]
    torch.testing.assert_close(evidence[ClassSums()].sums.sum(0), evidence.cached_responses()[0].double().sum(0))
    return evidence.cached_responses()[0].clone()


def test_an_entry_of_another_network_is_gathered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    first = responses_of(subject())
    assert torch.equal(responses_of(subject()), first)
    assert "another network" not in capsys.readouterr().err
    monkeypatch.setitem(LOUD, "factor", 3.0)
    assert subject().code == subject().code
    changed = responses_of(subject())
    assert "it is of another network: this one responds otherwise to the same images" in capsys.readouterr().err
    torch.testing.assert_close(changed[:, 0], 3 * first[:, 0])
    monkeypatch.setitem(LOUD, "factor", 3.0 * (1 + 1e-6))  # another kind of processor rounds as much
    assert torch.equal(responses_of(subject()), changed)


class Unsettled(Toy):
    """Its batch norm takes the statistics of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(FILTERS, track_running_stats=False)


def test_what_depends_on_the_batch_says_so_and_is_cached_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    module = Unsettled()
    whole = responses_of(subject(module, 24))
    shown = " ".join(capsys.readouterr().err.split())
    assert "These batch norms keep no running statistics: norm." in shown
    assert "(here of 24, in the order of the dataset)" in shown
    parts = responses_of(subject(module, 7))
    assert not torch.allclose(parts, whole)
    assert torch.equal(responses_of(subject(module, 24)), whole)
    capsys.readouterr()
    responses_of(subject())
    assert "running statistics" not in capsys.readouterr().err
