"""Where a filter is active lies on the image where it lies in the layer's output, whatever axes that output has."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddeep.data.preprocessing import Preprocessing
from ddeep.experiments.settings import ReportConfig
from ddeep.networks.layer import Layer
from ddeep.networks.places import cells
from ddeep.networks.weights_file import write_trained
from ddeep.reports import write_report
from ddeep.reports.findings import find
from ddeep.reports.tiles import SIDE, Maps, activation_maps, light, on_the_image, spotlight
from tests.reports.conftest import make_run
from tests.reports.pages import data_of
from tests.support.documents import read_document
from tests.support.helpers import Distributions
from tests.support.pictures import class_folders

CPU = torch.device("cpu")
AS_IT_IS = Preprocessing((0.0,) * 3, (1.0,) * 3, 8, 8)
USUAL = Preprocessing((0.5,) * 3, (0.5,) * 3, 32, 32)


class Places(nn.Module):
    """Its output is the image itself, coarser, in the layout called ``kind``: filters 0, 1, 2 are red, green, blue."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.out = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(images, 2)
        if self.kind == "NHWC":
            maps = maps.permute(0, 2, 3, 1)
        elif self.kind != "NCHW":
            tokens = maps.flatten(2).transpose(1, 2)
            extra = 9 * torch.ones(len(tokens), int(self.kind), 3)  # brighter than any place, and nowhere
            maps = torch.cat([extra, tokens], dim=1)
        return self.out(maps).flatten(1)


def corners() -> Tensor:
    """Two images of 8 x 8: red at the top left and green at the bottom right, and the other way around."""
    image = torch.zeros(8, 8, 3, dtype=torch.uint8)
    image[:4, :4, 0] = image[4:, 4:, 1] = 255
    return torch.stack([image, image.flip(0, 1)])


@pytest.mark.parametrize("kind", ["NCHW", "NHWC", "0", "1", "2", "5"])
def test_maps_of_every_layout(kind: str) -> None:
    layer = Layer("out", layout="NHWC" if kind == "NHWC" else "NCHW")
    maps = activation_maps(Places(kind).eval(), layer, AS_IT_IS.normalise(corners()), [1, 0], CPU)
    assert maps is not None
    top_left = torch.zeros(4, 4)
    top_left[:2, :2] = 1
    for image, (red, green) in enumerate([(top_left, top_left.flip(0, 1)), (top_left.flip(0, 1), top_left)]):
        assert torch.equal(maps.of(image, 0), red)
        assert torch.equal(maps.of(image, 1), green)


def test_outputs_without_places_on_the_image() -> None:
    assert on_the_image(torch.zeros(2, 10), Layer("x")) is None
    assert on_the_image(torch.zeros(2, 12, 5), Layer("x")) is None  # neither 12 nor 11, 10, 7 are squares
    assert on_the_image(torch.zeros(2, 1, 5), Layer("x")) is None


def test_the_light_falls_where_the_filter_is_active() -> None:
    red = torch.zeros(4, 4)
    red[:2, :2] = 1
    white = torch.full((8, 8, 3), 255, dtype=torch.uint8)
    maps = Maps(torch.stack([red, -red])[None], (0, 1), cells(4, 4, 8), 8)
    shown = torch.from_numpy(spotlight(white, light(maps, 0, 0))).float().mean(2)
    assert shown.shape == (SIDE, SIDE)
    assert shown[5:25, 5:25].min() > 250
    assert shown[60:, :].max() == shown[:, 60:].max() < 120
    nothing = torch.from_numpy(spotlight(white, light(maps, 0, 1))).float()
    assert nothing.max() < 120  # negative activations are no light


class Strided(nn.Module):
    """Three convolutions that halve, each as those of a ResNet: the dot of an image, eight times coarser."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.tensor([0.5, 1, 0.5])
        for name in ("one", "two", "out"):
            conv = nn.Conv2d(1, 1, 3, 2, 1, bias=False)
            conv.weight = nn.Parameter((kernel[:, None] * kernel)[None, None])
            setattr(self, name, conv)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.two(self.one(images[:, :1])))  # type: ignore[no-any-return]


@pytest.mark.parametrize("at", [(8, 8), (16, 40), (24, 32), (33, 21), (40, 42), (13, 27)])
def test_a_moving_dot_on_black_is_lit_at_its_place(at: tuple[int, int]) -> None:
    """Not half a stride beside it: 3.5 pixels of 64, where a pixel of the tile is two thirds of one."""
    image = torch.zeros(1, 3, 64, 64)
    image[0, :, at[0], at[1]] = 1
    maps = activation_maps(Strided().eval(), Layer("out"), image, [0], CPU)
    assert maps is not None
    lit = light(maps, 0, 0)
    pixels = (torch.arange(SIDE, dtype=torch.float64) + 0.5) * 64 / SIDE - 0.5
    for axis, place in enumerate(at):
        weight = lit.sum(1 - axis)
        assert float((weight * pixels).sum() / weight.sum()) == pytest.approx(place, abs=0.5)
    assert lit.max() > 0.9


PLUGIN = '''
import torch
from torch import nn
from ddeep import ModelSpec, hookimpl


class Last(nn.Module):
    """Four by four places with 16 filters on the last axis, as maps or as tokens."""

    def __init__(self, classes, tokens):
        super().__init__()
        self.tokens = tokens
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, classes)

    def forward(self, images):
        places = self.norm(self.patches(images).permute(0, 2, 3, 1).flatten(1, 2 if self.tokens else 1))
        return self.head(places.mean(1) if self.tokens else places.mean((1, 2)))


@hookimpl
def ddeep_models():
    for name, tokens in (("last-maps", False), ("last-tokens", True)):
        build = lambda classes, tokens=tokens: Last(classes, tokens)
        yield ModelSpec(name, build=build, head="head", layer="norm", summary=name, source="a test")
'''


@pytest.mark.filterwarnings("ignore:class-selectivity is defined for non-negative responses")
@pytest.mark.parametrize("name", ["last-maps", "last-tokens"])
def test_a_report_of_filters_on_the_last_axis(name: str, distributions: Distributions, tmp_path: Path) -> None:
    """The layer is named by the plugin, its layout is not: 16 filters must not be taken for four."""
    module = distributions.install("ddeep-last", PLUGIN)
    torch.manual_seed(0)
    network = __import__(module).Last(3, name == "last-tokens")
    weights = tmp_path / "w.safetensors"
    write_trained(
        network.state_dict(), weights, model=name, dataset="folder", classes=tuple("abc"), preprocessing=USUAL
    )
    for split in ("train", "test"):
        class_folders(tmp_path / "data" / split, dict.fromkeys("abc", 4), side=32)
    run = make_run(
        tmp_path / "run", model=name, weights=str(weights), dataset="folder", data_dir=tmp_path / "data",
        strategy="paper", k=2,
    )  # fmt: skip
    document = read_document(run / "run.json")
    assert document["accuracy"]["decomposed"] is not None
    found = find(run, ReportConfig(no_layers=True))
    assert found.measured is not None
    assert found.measured.means.shape == (3, 16)
    page = data_of(write_report(run, ReportConfig(no_layers=True)).page)
    assert page["pictures"]["maps"]["shape"][1:] == [4, 4]
    maps = _numbers(page["pictures"]["tiles"]["map"], "<i4")
    filters = _numbers(page["pictures"]["tiles"]["filter"], "<u2")
    assert min(maps) >= 0  # every tile has its overlay
    assert set(found.users()) <= set(filters)


def _numbers(packed: dict[str, str], kind: str) -> list[int]:
    return np.frombuffer(base64.b64decode(packed["bytes"]), kind).tolist()  # type: ignore[no-any-return]
