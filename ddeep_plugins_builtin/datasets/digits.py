"""scikit-learn's handwritten digits as 32×32 RGB images."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddeep.plugin import TensorImages

_SIDE = 32
_TEST_EVERY = 5  # every fifth image of each digit is for testing: 364 of 1,797


def open_digits(data_dir: Path, split: str) -> TensorImages:  # noqa: ARG001 - the images come with scikit-learn
    """The ``"train"`` (1,433) or ``"test"`` (364) images, in scikit-learn's order."""
    ink, labels = _read()
    chosen = np.flatnonzero(is_test(labels) == (split == "test"))
    pixels = np.stack([_enlarged(ink[index]) for index in chosen])
    names = [str(digit) for digit in range(10)]
    return TensorImages.of(torch.from_numpy(pixels), torch.from_numpy(labels[chosen]), names)


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Ink ``(1797, 8, 8)`` and labels, from scikit-learn's file: importing it for ``load_digits`` takes seconds."""
    place = find_spec("sklearn")
    assert place is not None
    assert place.origin is not None
    table = np.loadtxt(Path(place.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def is_test(labels: np.ndarray) -> np.ndarray:
    """Which images are for testing: stratified, and without a random generator that a library might change."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[::_TEST_EVERY]] = True
    return chosen


def _enlarged(digit: np.ndarray) -> np.ndarray:
    """From 8×8 ink in 0…16 to 32×32×3 uint8."""
    grey = np.round(digit * (255 / 16)).astype(np.uint8)
    large = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    return np.repeat(large[:, :, None], 3, axis=2)
