"""One image file to RGB pixels, with Pillow. Files are not trusted."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import DataError
from .pictures import MAX_BYTES, Picture, open_picture
from .preprocessing import MAX_PIXELS, Preprocessing

# Pillow hands the first two to other programs (Ghostscript, the Windows GDI), which a picture has no business to start,
# and only recognises the rest.
_UNREAD = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_MAX_SIDE = 65_535  # JPEG's own limit; a PNG of one column and 80 million rows takes minutes
_AT_ONCE = 1 << 20  # pixels
_DEPTHS = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "RGB": 3, "I;16": 3, "I;16B": 3, "I;16L": 3, "I": 5}  # bytes
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, the common ones first."""
    Image.init()
    return (*_COMMON, *sorted(set(Image.OPEN) - set(_COMMON) - _UNREAD))


@cache
def image_suffixes() -> frozenset[str]:
    """Lower-case file name endings, dot included, of the formats that are read."""
    formats = set(image_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def read_rgb(path: Path | Picture) -> Image.Image:
    """Decode a file to an upright RGB image; grey, palette, CMYK and 16-bit images are converted, alpha is dropped.

    Raises DataError, naming the file, for anything that is not a whole image of reasonable size.
    """
    try:
        # Ignored: Pillow's remarks about odd metadata, and about sizes that the check below refuses.
        with (
            warnings.catch_warnings(action="ignore"),
            open_picture(path) as file,
            Image.open(file, formats=image_formats()) as image,
        ):
            _refuse_size(image)
            image.load()
            return _upright(_as_rgb(image), _orientation(image))
    except Image.DecompressionBombError as error:
        claim = str(error) if isinstance(error, _TooLargeError) else f"claims more than {MAX_PIXELS:,} pixels"
        raise DataError(f"{_shown(path)} {claim}. Make it smaller or remove it.") from error
    except DataError as error:
        raise DataError(f"{_shown(path)}: {error}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        reason = _reason(error)
        raise DataError(f"{_shown(path)} does not decode as an image ({reason}). Replace or remove it.") from error


class _TooLargeError(Image.DecompressionBombError):
    """The message goes on after the file's name."""


def _refuse_size(image: Image.Image) -> None:
    """By what its header says, before anything is decoded: rows without end take their time, pixels their memory."""
    width, height, pixels = image.width, image.height, image.width * image.height
    if pixels > MAX_PIXELS:
        raise _TooLargeError(f"claims more than {MAX_PIXELS:,} pixels")
    if max(width, height) > _MAX_SIDE:
        raise _TooLargeError(f"is {width:,} × {height:,} pixels, and {_MAX_SIDE:,} a side are the most")
    needed = pixels * (_DEPTHS.get(image.mode, 4) + (0 if image.mode == "RGB" else 3))  # as it is stored, and as RGB
    if needed > MAX_BYTES:
        raise _TooLargeError(f"would take {needed >> 20} MiB to decode, more than {MAX_BYTES >> 20}")


def pixels_of(image: Image.Image) -> UInt8[Tensor, "h w 3"]:
    """The pixels of an RGB image."""
    return torch.from_numpy(np.array(image, dtype=np.uint8))


def fitted_pixels(path: Path | Picture, preprocessing: Preprocessing) -> UInt8[Tensor, "s s 3"]:
    """Decode, resize and crop one file. Resampling is Pillow's, on 8-bit pixels, as in torchvision."""
    image = read_rgb(path)
    try:
        height, width = preprocessing.resized(image.height, image.width)
    except DataError as error:
        raise DataError(f"{_shown(path)}: {error}") from error
    if (width, height) != image.size:
        image = image.resize((width, height), _RESAMPLING[preprocessing.interpolation])
    top, left = preprocessing.corner(height, width)
    return pixels_of(image.crop((left, top, left + preprocessing.size, top + preprocessing.size)))


def exact_pixels(path: Path | Picture, height: int, width: int) -> UInt8[Tensor, "h w 3"]:
    """Decode one file that must have exactly this size."""
    image = read_rgb(path)
    if (image.height, image.width) != (height, width):
        raise DataError(f"{_shown(path)} has {image.width} × {image.height} pixels, others have {width} × {height}.")
    return pixels_of(image)


def _orientation(image: Image.Image) -> int:
    """1 (as stored) to 8. Broken EXIF data are common, and no reason to refuse a picture that decodes."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DataError("Floating-point pixels have no fixed range. Save it with 8 bits per channel.")
    if image.mode == "RGB":
        return image
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image.convert("RGB")
    # convert() would clip 16-bit values at 255 and turn the picture white. A few rows at once: these are wide numbers.
    grey = np.empty((image.height, image.width), np.uint8)
    rows = max(1, _AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        values = np.asarray(band, dtype=np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError("Its integer pixels exceed 16 bits. Save it with 8 bits per channel.")
        grey[top : top + rows] = (values + 128) // 257
    return Image.fromarray(grey).convert("RGB")


def _shown(path: Path | Picture) -> str:
    """The path with control characters escaped: file names are not trusted on a terminal."""
    return repr(str(path))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    text = str(error).splitlines()
    return text[0] if text and text[0] else type(error).__name__
