"""Networks that torch will not copy are copied, or refused by a sentence that names the part."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import ddeep
from ddeep.errors import ConfigError, TrainingError
from ddeep.heads.decomposed import DecomposedLinear, decompose
from ddeep.networks.copies import copy_of
from ddeep.selections.selection import Selection
from ddeep.training.objective import Objective
from tests.support.toys import CLASSES, FILTERS, pictures, toy


def in_batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(10), labels.split(10), strict=True))


def pruned(module: nn.Module) -> nn.Module:
    prune.l1_unstructured(first_convolution(module), "weight", amount=0.3)
    return module


def normed(norm: Callable[..., nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def apply(module: nn.Module) -> nn.Module:
        with warnings.catch_warnings(action="ignore"):  # torch has newer ones
            norm(first_convolution(module))
        return module

    return apply


class Keeping(nn.Module):
    """Keeps its last feature map, as code for class activation maps does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.kept: dict[str, list[Tensor]] = {}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images)
        self.kept = {"maps": [out]}
        return out


def keeping(module: nn.Module) -> nn.Module:
    name, convolution = next((n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
    module.set_submodule(name, Keeping(convolution))
    return module


def first_convolution(module: nn.Module) -> nn.Module:
    return next(part for part in module.modules() if isinstance(part, nn.Conv2d))


UNUSUAL = {
    "pruned": pruned,
    "weight norm": normed(nn.utils.weight_norm),
    "spectral norm": normed(nn.utils.spectral_norm),
    "a kept feature map": keeping,
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_network_with_computed_tensors_is_copied_after_a_forward_pass(kind: str) -> None:
    module = UNUSUAL[kind](toy())
    images, labels = pictures(30)
    module(images)  # leaves tensors with a history
    module.eval()
    expected = module(images)
    made = copy_of(module)
    made(torch.zeros_like(images))
    torch.testing.assert_close(made(images), expected)
    selection = ddeep.select(module, in_batches(images, labels), strategy="paper", k=2, device="cpu")
    decomposed = decompose(module, selection)
    assert decomposed(images).shape == (30, CLASSES)
    torch.testing.assert_close(module(images), expected)


def test_what_cannot_be_copied_is_named() -> None:
    module = toy()
    first_convolution(module).lock = threading.Lock()  # type: ignore[assignment]
    name = next(n for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
    with pytest.raises(ConfigError, match=f"its module '{name}' .Conv2d. cannot: .*__deepcopy__"):
        copy_of(module)


@pytest.mark.parametrize("whole", [True, False])
def test_a_scripted_network_is_refused(whole: bool) -> None:
    module, (images, labels) = toy().eval(), pictures(20)
    scripted = torch.jit.script(module) if whole else nn.Sequential(torch.jit.script(module))
    with pytest.raises(ConfigError, match=r"is scripted \(TorchScript\).*Give the nn.Module that it was made from"):
        ddeep.select(scripted, in_batches(images, labels), strategy="paper", k=2, device="cpu")
    with pytest.raises(ConfigError, match="is scripted"):
        decompose(scripted, Selection.of([[0]] * CLASSES, FILTERS))


class Cut(nn.Module):
    """A frozen backbone, the usual way."""

    def __init__(self, inner: nn.Module, how: str) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "detach":
            return self.inner(images).detach()  # type: ignore[no-any-return]
        with torch.no_grad():
            return self.inner(images)  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", ["detach", "no_grad"])
@pytest.mark.parametrize("what", ["all", "a convolution"])
def test_a_network_that_cuts_gradients_says_so(how: str, what: str) -> None:
    module, (images, labels) = toy(), pictures(20)
    if what == "all":
        cut: nn.Module = Cut(module, how)
        with pytest.raises(TrainingError, match="Nothing can be trained through it"):
            Objective(cut)(images, labels)
    else:
        name, convolution = next((n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
        module.set_submodule(name, Cut(convolution, how))
        cut = module
    inner = next(n for n, m in cut.named_modules() if isinstance(m, nn.Conv2d))
    with pytest.raises(ConfigError, match=f"No gradient of the logits reaches layer '{inner}'.*needs no gradients"):
        ddeep.select(cut, in_batches(images, labels), strategy="gradient-activation", k=2, layer=inner, device="cpu")


LOAD = """
import pickle, sys, torch
module, images, logits = pickle.load(open(sys.argv[1], "rb"))
with torch.no_grad():
    assert torch.equal(module(images), logits)
print(type(module.get_submodule("linear")).__name__)
"""


def test_a_decomposed_network_can_be_pickled_and_sent(tmp_path: Path) -> None:
    images = torch.randn(5, 512)
    plain = nn.Sequential()
    plain.add_module("linear", nn.Linear(512, 100))
    module = decompose(plain, Selection.of([[c, c + 1] for c in range(100)], 512), head="linear").eval()
    with torch.no_grad():
        logits = module(images)
    (tmp_path / "sent").write_bytes(pickle.dumps((module, images, logits)))
    done = subprocess.run([sys.executable, "-c", LOAD, tmp_path / "sent"], capture_output=True, text=True)
    assert done.stdout == "DecomposedLinear\n", done.stderr
    back = pickle.loads(pickle.dumps(module))
    other = decompose(plain, Selection.of([[0, 1, 2] for _ in range(100)], 512), head="linear")
    back.load_state_dict(other.state_dict())  # the compressed mask goes along
    with torch.no_grad():
        torch.testing.assert_close(back(images), other(images))
    assert isinstance(back.get_submodule("linear"), DecomposedLinear)
