"""Small folders of pictures, made on the fly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve


def picture(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    """Random pixels (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_picture(path: Path, seed: int = 0, height: int = 8, width: int = 8) -> Path:
    """Write random pixels as a lossless image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, height, width)).save(path)
    return path


def class_folders(root: Path, counts: Mapping[str, int], suffix: str = "png", side: int = 8) -> Path:
    """``root/<class>/<number>.png``, every picture another one."""
    seed = 0
    for name, count in counts.items():
        for number in range(count):
            save_picture(root / name / f"{number:0{len(str(count - 1))}}.{suffix}", seed, side, side)
            seed += 1
    return root


def digit_folders(folder: Path, counts: Mapping[str, int], names: Sequence[str] = tuple("0123456789")) -> Path:
    """The first real digits of each class, so many a split, in folders of these names."""
    for split, count in counts.items():
        images = resolve(registry().find("dataset", "digits").open)(folder, split)
        for label, name in enumerate(names):
            (where := folder / split / name).mkdir(parents=True)
            for number, at in enumerate((images.labels == label).nonzero()[:count, 0].tolist()):
                Image.fromarray(np.asarray(images.pixels[at])).save(where / f"{number}.png")
    return folder
