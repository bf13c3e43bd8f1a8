"""How images are prepared, as the file beside a checkpoint says: timm's ``config.json``, Hugging Face's, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.preprocessing import Preprocessing
from ..errors import ConfigError, WeightsError
from ..files.json import read_object
from ..registry.specs import Interpolation
from .weights_file import MOST_SIDE

_RESAMPLE: dict[Any, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers

_WHOLE = 384  # pixels from which on ConvNeXt's processor crops nothing


def recipe_beside(weights: Path) -> tuple[Preprocessing, Path] | None:
    """The recipe that ``preprocessor_config.json`` or ``config.json`` in the folder of ``weights`` gives, and the file.

    None where there is none, or it says nothing of images. Raises WeightsError where it says what cannot be.
    """
    for name, read in (("preprocessor_config.json", _hugging_face), ("config.json", _timm)):
        path = weights.parent / name
        if not path.is_file():
            continue
        try:
            found = read(read_object(path))
        except (OSError, ValueError, KeyError, TypeError, LookupError, ConfigError) as error:
            raise WeightsError(
                f"{path} does not say how images are prepared ({type(error).__name__}: {error}). Mend or remove it, "
                "and give --size, --resize, --interpolation, --mean and --std."
            ) from None
        if found is not None:
            return found, path
    return None


def _timm(document: Mapping[str, Any]) -> Preprocessing | None:
    """timm's ``pretrained_cfg``: the crop's side, and its share of the resized image."""
    given = document.get("pretrained_cfg", document)
    if not {"mean", "std", "input_size"} <= given.keys():
        return None
    size = _side(given["input_size"][-1])
    resize = _side(int(size / float(given.get("crop_pct") or 1)))
    squash = given.get("crop_mode") == "squash"
    return _recipe(given["mean"], given["std"], size, resize, given.get("interpolation") or "bilinear", squash)


def _hugging_face(document: Mapping[str, Any]) -> Preprocessing | None:
    """``transformers``' image processor: resize the short side, or both where it names both; crop if it says so."""
    if not {"image_mean", "image_std", "size"} <= document.keys():
        return None
    for name, usual in (("do_resize", True), ("do_flip_channel_order", False)):
        if document.get(name, usual) is not usual:
            raise ValueError(f"{name} {document[name]} is not what ddeep does")
    resize = _side(document["size"])
    size = _side(document["crop_size"]) if document.get("do_center_crop", "crop_size" in document) else resize
    squash = isinstance(document["size"], Mapping) and "height" in document["size"]
    if document.get("crop_pct") is not None:  # ConvNeXt's: the crop's share of the resized image, none for large ones
        squash, resize = resize >= _WHOLE, resize if resize >= _WHOLE else _side(int(resize / document["crop_pct"]))
    mode = _RESAMPLE[document.get("resample", 2)]
    return _recipe(*_normalisation(document), size, resize, mode, squash)


def _normalisation(document: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixels from 0 to 1, whatever the processor rescales them to before it takes its own off."""
    plain = document.get("do_normalize", True) is False
    mean, std = ([0.0] * 3, [1.0] * 3) if plain else (document["image_mean"], document["image_std"])
    scale = 255 * float(document.get("rescale_factor", 1 / 255)) if document.get("do_rescale", True) else 255.0
    offset = float(bool(document.get("rescale_offset")))
    return [(float(one) + offset) / scale for one in mean], [float(one) / scale for one in std]


def _side(given: Any) -> int:
    """A number of pixels, alone or as ``shortest_edge`` or equal ``height`` and ``width``."""
    if isinstance(given, Mapping):
        sides = {given[key] for key in ("shortest_edge", "height", "width") if key in given}
        if len(sides) != 1:
            raise ValueError(f"{dict(given)} is not one side")
        (given,) = sides
    if type(given) is not int or not 1 <= given <= MOST_SIDE:
        raise ValueError(f"{str(given)[:40]!r} is no number of pixels from 1 to {MOST_SIDE}")
    return given


def _recipe(mean: Any, std: Any, size: int, resize: int, interpolation: Any, squash: bool) -> Preprocessing:
    mean, std = tuple(map(float, mean)), tuple(map(float, std))
    return Preprocessing(mean, std, size, max(size, resize), interpolation, squash)
