"""How a folder's image processor prepares pictures, in ddeep's words: told by its settings, checked by what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from ddeep.plugin import ConfigError, Interpolation, Preprocessing, WeightsError

_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_SHAPES = ((90, 120), (120, 90))  # of the pictures that both prepare
_ALIKE = 0.05  # of a picture's deviation: resampling differs a little between libraries


def recipe_of(folder: Path) -> Preprocessing:
    """What the folder's ``preprocessor_config.json`` asks for.

    Its settings leave open what they mean (one side or both, a crop or none), so each reading is tried on two pictures
    until one gives what the processor itself gives. Raises WeightsError where none does.
    """
    if not (folder / "preprocessor_config.json").is_file():
        raise WeightsError(
            f"{folder} holds no preprocessor_config.json, which says how images are prepared. Bring the one that "
            "belongs to the model."
        )
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        pictures = [_picture(*shape) for shape in _SHAPES]
        wanted = [processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures]
    except Exception as error:
        raise WeightsError(f"{folder / 'preprocessor_config.json'} cannot be used: {str(error)[:300]}") from error
    for recipe in _readings(processor, wanted[0].shape[-1]):
        if all(_prepares(recipe, *pair) for pair in zip(pictures, wanted, strict=True)):
            return recipe
    raise WeightsError(
        f"{type(processor).__name__} of {folder} prepares images as ddeep cannot: resizing, a central square, mean and "
        "deviation are not all it does. Prepare them yourself, with a loader in Python."
    )


def _readings(processor: Any, size: int) -> Iterator[Preprocessing]:
    """What the settings may mean, for images that come out with ``size`` pixels a side."""
    normalises = getattr(processor, "do_normalize", True) and processor.image_mean is not None
    mean = _three(processor.image_mean) if normalises else (0.0,) * 3
    std = _three(processor.image_std) if normalises else (1.0,) * 3
    factor = float(getattr(processor, "rescale_factor", None) or 1 / 255) if _asked(processor, "do_rescale") else 1.0
    # (x · factor - mean) / std, with values x from 0 to 255, as (x / 255 - mean') / std'.
    mean, std = (tuple(value / (255 * factor) for value in values) for values in (mean, std))
    share = getattr(processor, "crop_pct", None)
    resizes = {size, *_sides(getattr(processor, "size", None)), *([int(size / share)] if share else [])}
    modes = dict.fromkeys([_RESAMPLE.get(int(getattr(processor, "resample", None) or 0), "bicubic")])
    for resize, squash, mode in product(sorted(resizes), (False, True), modes):
        if resize >= size:
            try:
                yield Preprocessing(mean, std, size, resize, mode, squash)
            except ConfigError:
                continue


def _asked(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, True))


def _three(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values)) if isinstance(values, list | tuple) else (float(values),) * 3


def _sides(size: Any) -> set[int]:
    """The numbers of pixels in a processor's ``size``, whatever it calls them."""
    values = (
        size.values() if isinstance(size, Mapping) else vars(size).values() if hasattr(size, "__dict__") else [size]
    )
    return {value for value in values if isinstance(value, int)}


def _picture(height: int, width: int) -> Image.Image:
    """Smooth and coloured, so that a picture that is cropped, squashed or of other channels looks different."""
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(5 * down + 1), np.cos(4 * across), np.sin(3 * down - 4 * across)]
    return Image.fromarray((127.5 * (1 + np.stack(waves, -1))).astype(np.uint8))


def _prepares(recipe: Preprocessing, picture: Image.Image, wanted: Tensor) -> bool:
    pixels = torch.from_numpy(np.array(picture))[None]
    given = recipe.normalise(recipe.fit(pixels))
    if given.shape != wanted.shape:
        return False
    return bool((given - wanted.float()).abs().mean() <= _ALIKE * wanted.float().std())
