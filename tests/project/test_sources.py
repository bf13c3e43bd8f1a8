"""What docs/plugins.md shows of datasets whose pictures are no files, and of statistics of maps, works as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import ddeep
from ddeep.data.decoding import pixels_of, read_rgb
from ddeep.data.images import FileImages
from ddeep.registry.specs import resolve
from ddeep.testing import datasets as promises
from tests.project.test_documents import code_blocks
from tests.support.paths import ROOT
from tests.support.toys import pictures, toy

BLOCKS = code_blocks(ROOT / "docs" / "plugins.md", "python")


def plugin(start: str) -> dict[str, Any]:
    (block,) = (block for block in BLOCKS if start in block)
    scope: dict[str, Any] = {}
    exec(compile(block, start, "exec"), scope)
    return scope


def test_the_indexed_source(tmp_path: Path) -> None:
    (family,) = plugin("# bricks.py")["ddeep_datasets"]()
    for promise in promises.FAMILY:
        promise.check(family, tmp_path)
    made, shown = tmp_path / "mine", []
    made.mkdir()
    for split in ("train", "test"):
        content = b""
        for at in range(6):
            noise = np.random.default_rng(at + len(split)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "one.bmp")
            content += (tmp_path / "one.bmp").read_bytes()
            shown.append(torch.from_numpy(noise))
        (made / f"{split}.bmps").write_bytes(content)
        (made / f"{split}.txt").write_text("0 1 0 1 0 1")
    spec = resolve(family.resolve)("mine")
    for promise in promises.PROMISES[:3]:
        promise.check(spec, tmp_path)
    images = resolve(spec.open)(tmp_path, "train")
    assert isinstance(images, FileImages)
    assert all(torch.equal(pixels_of(read_rgb(images.files[at])), shown[at]) for at in (5, 0, 3))


def test_the_streamed_source(tmp_path: Path) -> None:
    (spec,) = plugin("# river.py")["ddeep_datasets"]()
    for promise in promises.PROMISES[:3]:
        promise.check(spec, tmp_path)
    images = resolve(spec.open)(tmp_path, "train")
    assert pixels_of(read_rgb(images.files[7]))[0, 0].tolist() == [35, 0, 120]


def test_the_statistic_of_maps() -> None:
    scope = plugin("class Centres(Statistic)")
    model, (images, labels) = toy(), pictures(20)
    found = ddeep.gather(model, [(images, labels)], layer="relu", statistics=[scope["Centres"]()])
    assert found[scope["Centres"]()].total.any()
