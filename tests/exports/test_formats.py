"""Exported files give the network's logits in their own runtimes, and say what they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import ConfigError
from ddeep.exports import formats
from ddeep.exports.formats import read_facts, write_network
from ddeep.exports.plain import FromPixels, GatheredLinear, measure_head, plain_network
from ddeep.heads.decomposed import decompose
from ddeep.networks.trace import example_images
from ddeep.selections.selection import Selection
from ddeep_plugins_builtin.models.cifar_resnet import resnet20
from tests.support.toys import toy

CLASSES = 6
FACTS = {"classes": ["a", "b"], "selection": {"a": [1]}, "hashes": {"weights": "1f"}}

with_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra onnx: pip install 'ddeep[onnx]'",
)


def _timm(name: str, **settings: object) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=CLASSES, **settings)  # type: ignore[no-any-return]


# Fewer blocks where the architecture lets one ask for them: the operations are the same, and exporting is slow.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "resnet20": (lambda: resnet20(CLASSES), "linear", 32),
    "resnet50": (lambda: _timm("resnet50", layers=[1, 1, 1, 1]), "fc", 64),
    "efficientnet-lite0": (lambda: _timm("efficientnet_lite0"), "classifier", 64),
    "vit": (lambda: _timm("vit_tiny_patch16_224", img_size=32, depth=2), "head", 32),
    "convnext": (lambda: _timm("convnext_atto", depths=(1, 1, 1, 1)), "head.fc", 64),
}


def decomposed(name: str) -> tuple[nn.Module, str, int]:
    """A network with random weights and statistics in which every class sees five filters."""
    build, head, size = NETWORKS[name]
    torch.manual_seed(0)
    module = build().eval()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_().mul_(0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    filters = module.get_submodule(head).in_features
    rows = [torch.randperm(filters)[:5].tolist() for _ in range(CLASSES)]
    return decompose(module, Selection.of(rows, filters), head=head), head, size


def _images(module: nn.Module, size: int, count: int) -> Tensor:
    return example_images(module, size)[:1] * torch.linspace(-1, 1.5, count).view(-1, 1, 1, 1)


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= 1e-4 * wanted.abs().max())


@with_onnx
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_same_logits_in_onnxruntime_for_any_batch(name: str, tmp_path: Path) -> None:
    import onnxruntime

    module, head, size = decomposed(name)
    plain = plain_network(module, head, "gathered" if name == "resnet50" else "dense")
    difference = write_network(plain, _images(plain, size, 2), tmp_path / "network.onnx", "onnx", FACTS)
    assert difference is not None
    assert difference <= 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = _images(plain, size, count)
        with torch.no_grad():
            wanted = module(images)
        assert _close(torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), wanted)
    assert read_facts(tmp_path / "network.onnx") == FACTS


class Named(nn.Module):
    """A network that names its logits, beside something else."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"features": images.flatten(1), "logits": self.module(images)}


def test_of_a_network_that_names_its_logits_the_program_gives_them_alone(tmp_path: Path) -> None:
    module, _, size = decomposed("resnet20")
    images = _images(module, size, 2)
    write_network(Named(module).eval(), images, tmp_path / "network.pt2", "pt2", FACTS)
    with torch.no_grad():
        assert _close(torch.export.load(tmp_path / "network.pt2").module()(images), module(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_pt2_gives_the_same_logits_for_any_batch(name: str, tmp_path: Path) -> None:
    module, head, size = decomposed(name)
    plain = plain_network(module, head)
    write_network(plain, _images(plain, size, 2), tmp_path / "network.pt2", "pt2", FACTS)
    program = torch.export.load(tmp_path / "network.pt2").module()
    for count in (1, 5):
        images = _images(plain, size, count)
        with torch.no_grad():
            assert _close(program(images), module(images))
    assert read_facts(tmp_path / "network.pt2") == FACTS


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_load_strictly_into_the_plain_architecture(name: str, tmp_path: Path) -> None:
    module, head, size = decomposed(name)
    plain, images = plain_network(module, head), _images(module, size, 3)
    write_network(plain, images, tmp_path / "network.safetensors", "safetensors", FACTS)
    stranger = NETWORKS[name][0]().eval()
    stranger.load_state_dict(load_file(tmp_path / "network.safetensors"), strict=True)
    with torch.no_grad():
        assert _close(stranger(images), module(images))
    assert read_facts(tmp_path / "network.safetensors") == FACTS


def test_the_gathered_head_is_the_dense_one_with_classes_of_several_sizes() -> None:
    weight = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([[0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0, 0]])
    bias, responses = torch.arange(4.0), torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    found = GatheredLinear(weight, bias)(responses)
    torch.testing.assert_close(found, responses @ weight.T + bias)


def test_the_chosen_form_is_the_faster_one_or_the_smaller_of_two_alike() -> None:
    weight = torch.zeros(1000, 2048)
    weight[:, :5] = 1.0
    found = measure_head(weight, torch.zeros(1000))
    assert found["bytes"]["gathered"] < found["bytes"]["dense"]
    assert found["chosen"] == min(found[found["by"]], key=found[found["by"]].get)


def test_a_network_of_pixels_normalises_as_ddeep_does() -> None:
    module, recipe = toy(), Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 8, 8)
    pixels = torch.randint(0, 256, (3, 8, 8, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.no_grad():
        found, wanted = FromPixels(module, recipe)(pixels), module(recipe.normalise(pixels))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


class _Forked(nn.Module):
    """Its way depends on what it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from torch import nn
from ddeep.errors import CacheError
from ddeep.exports.formats import write_network
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_network(nn.Linear(3, 2), torch.zeros(2, 3), Path(sys.argv[1]), "pt2", {})
except CacheError as error:
    print(error)
"""


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """In a process of its own, which torch would end."""
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path / "network.pt2")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Cannot write")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["pt2", pytest.param("onnx", marks=with_onnx)])
def test_what_cannot_be_traced_is_named_and_leaves_no_file(
    kind: formats.Format, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The submodule, too; and torch prints none of its graphs."""
    inner = nn.Sequential(nn.Identity(), nn.Sequential(_Forked(), nn.Identity()))
    with pytest.raises(ConfigError, match=r"cannot trace Sequential in 1\.0 \(_Forked\): "):
        write_network(inner, torch.ones(2, 3, 8, 8), tmp_path / f"network.{kind}", kind, FACTS)
    with pytest.raises(ConfigError, match=r"cannot trace _Forked: "):
        write_network(_Forked(), torch.ones(2, 3, 8, 8), tmp_path / f"network.{kind}", kind, FACTS)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


class _Eigenvalues(nn.Module):
    """An operation that ONNX has not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x[:, 0])


@with_onnx
def test_what_onnx_has_not_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot write this network as ONNX: .*linalg_eigh.* --to pt2"):
        write_network(_Eigenvalues(), torch.rand(2, 3, 8, 8), tmp_path / "network.onnx", "onnx", FACTS)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_file_whose_logits_differ_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = formats._runner
    monkeypatch.setattr(formats, "_runner", lambda *given: lambda images: honest(*given)(images) * 1.01)
    with pytest.raises(ConfigError, match=r"differ from the network's by 1\.0e-02"):
        write_network(toy(), torch.rand(2, 3, 8, 8), tmp_path / "network.pt2", "pt2", FACTS)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxruntime" else True)
    with pytest.raises(ConfigError, match=r"needs onnxruntime: pip install 'ddeep\[onnx\]'"):
        formats.check_onnx()


def test_an_old_opset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _name: True)
    with pytest.raises(ConfigError, match="Opset 12 is too old: torch writes 18 and newer"):
        formats.check_onnx(12)


@with_onnx
def test_an_opset_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"There is no opset 999: the newest that the installed onnx knows is \d\d\."):
        formats.check_onnx(999)


@with_onnx
def test_the_file_has_the_opset_asked_for(tmp_path: Path) -> None:
    import onnx

    for opset in (formats.OLDEST_OPSET, formats.OPSET):
        path = tmp_path / f"{opset}.onnx"
        write_network(toy(), torch.rand(2, 3, 8, 8), path, "onnx", FACTS, opset)
        assert [one.version for one in onnx.load(path).opset_import if not one.domain] == [opset]


@with_onnx
def test_where_an_opset_cannot_be_had_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exporter cannot convert it leaves as it was, and says so in a log alone."""
    honest = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *given, **named: honest(*given, **{**named, "opset_version": 20}))
    with pytest.raises(ConfigError, match="cannot be written with opset 21: it stays at 20"):
        write_network(toy(), torch.rand(2, 3, 8, 8), tmp_path / "network.onnx", "onnx", FACTS, 21)
    assert not list(tmp_path.iterdir())
