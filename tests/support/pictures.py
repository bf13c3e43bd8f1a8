"""Small folders of pictures, made on the fly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


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
