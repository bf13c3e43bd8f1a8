import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from ddeep.data.decoding import (
    exact_pixels,
    fitted_pixels,
    image_formats,
    image_suffixes,
    pixels_of,
    read_rgb,
)
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import DataError

PLAIN = Preprocessing((0.5,) * 3, (0.5,) * 3, 16, 16)


def noise(height: int = 8, width: int = 12, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def read(path) -> np.ndarray:
    return pixels_of(read_rgb(path)).numpy()


def huge_png(path, side: int) -> None:
    """A valid header of an enormous picture, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif", "ppm", "tga"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read(tmp_path / f"x.{suffix}"), pixels)


def test_grey(tmp_path):
    grey = noise(channels=1)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png"), np.repeat(grey[:, :, None], 3, axis=2))


def test_black_and_white(tmp_path):
    ink = noise(channels=1)[:, :, 0] > 127
    Image.fromarray(ink).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png")[:, :, 0], np.where(ink, 255, 0))


def test_alpha_is_dropped(tmp_path):
    pixels = noise(channels=4)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png"), pixels[:, :, :3])


def test_grey_with_alpha(tmp_path):
    pixels = noise(channels=2)
    Image.fromarray(pixels, mode="LA").save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png")[:, :, 1], pixels[:, :, 0])


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "x.png", transparency=0)
    assert read(tmp_path / "x.png").reshape(-1, 3).tolist() == [[200, 100, 50]] * 8


def test_cmyk(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, :, 0] = 255  # all cyan
    Image.fromarray(pixels, mode="CMYK").save(tmp_path / "x.tif")
    assert read(tmp_path / "x.tif")[0, 0].tolist() == [0, 255, 255]


def test_sixteen_bits_keep_their_greys(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    wanted = np.round(values / 257).astype(np.uint8)
    for name in ("x.png", "x.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.array_equal(read(tmp_path / name)[:, :, 2], wanted)
        assert wanted.max() == 255


def test_big_endian_sixteen_bits(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 2 1 65535 " + struct.pack(">HH", 0x8000, 0xFFFF))
    assert read(tmp_path / "x.pgm")[:, :, 0].tolist() == [[128, 255]]


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(DataError, match=r"float\.tif.*8 bits"):
        read(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"long\.tif.*16 bits"):
        read(tmp_path / "long.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    upright = noise(8, 12)
    stored = {  # how a camera held that way stores the picture, by the definition of the EXIF tag
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read(tmp_path / "x.png"), upright)


@pytest.mark.filterwarnings("error")
def test_broken_exif_is_no_reason_to_refuse_a_picture(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    assert np.array_equal(read(tmp_path / "x.png"), noise())


def test_the_format_is_told_by_content_not_by_name(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert np.array_equal(read(tmp_path / "x.jpg"), noise())


def test_truncated_file(tmp_path):
    Image.fromarray(noise(64, 64)).save(tmp_path / "x.jpg")
    whole = (tmp_path / "x.jpg").read_bytes()
    for length in (0, 2, 20, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.jpg").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.jpg.*does not decode"):
            read_rgb(tmp_path / "cut.jpg")


def test_something_else(tmp_path):
    (tmp_path / "x.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"x\.png.*no known image format"):
        read_rgb(tmp_path / "x.png")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10_000, 14_000, 60_000, 2**31 - 1])
def test_a_picture_that_claims_to_be_enormous(tmp_path, side):
    huge_png(tmp_path / "bomb.png", side)
    with pytest.raises(DataError, match=r"bomb\.png.*(89,478,485 pixels|does not decode)"):
        read_rgb(tmp_path / "bomb.png")


def test_a_sliver_names_its_file(tmp_path):
    Image.new("L", (60_000, 1)).save(tmp_path / "sliver.png")
    with pytest.raises(DataError, match=r"sliver\.png.*cannot be resized"):
        fitted_pixels(tmp_path / "sliver.png", Preprocessing((0.5,) * 3, (0.5,) * 3, 224, 224))


def test_postscript_is_not_run(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(pwned) (w) file closefile\n"
    (tmp_path / "x.png").write_bytes(eps)
    with pytest.raises(DataError, match="no known image format"):
        read_rgb(tmp_path / "x.png")
    assert not {"EPS", "WMF"} & set(image_formats())
    assert ".eps" not in image_suffixes()
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff"} <= image_suffixes()


def test_escape_sequences_in_a_file_name_are_not_passed_on(tmp_path):
    path = tmp_path / "\x1b[2Jx.png"
    path.write_text("")
    with pytest.raises(DataError) as caught:
        read_rgb(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (20, 20), (32, 32)])
def test_fitting_a_file_is_exactly_torchvisions_pipeline(tmp_path, interpolation, height, width):
    Image.fromarray(noise(height, width)).save(tmp_path / "x.png")
    mode = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}[interpolation]
    steps = transforms.Compose([transforms.Resize(27, transforms.InterpolationMode(mode)), transforms.CenterCrop(24)])
    wanted = np.array(steps(Image.open(tmp_path / "x.png")))
    recipe = Preprocessing((0.5,) * 3, (0.5,) * 3, 24, 27, interpolation)
    assert np.array_equal(fitted_pixels(tmp_path / "x.png", recipe).numpy(), wanted)


def test_exact_pixels(tmp_path):
    Image.fromarray(noise(8, 12)).save(tmp_path / "x.png")
    assert np.array_equal(exact_pixels(tmp_path / "x.png", 8, 12).numpy(), noise(8, 12))
    with pytest.raises(DataError, match="12 × 8 pixels, others have 8 × 12"):
        exact_pixels(tmp_path / "x.png", 12, 8)


def test_an_unreadable_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png"):
        read_rgb(tmp_path / "pipe.png")


def png(path, width: int, height: int, depth: int, colours: int, rows: bytes) -> None:
    """A PNG of these rows (filter bytes included), as small as they compress."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


PEAK = """
import resource, sys
from pathlib import Path
from ddeep.data.decoding import read_rgb
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_rgb(Path(sys.argv[1]))
print(image.size[0], image.getpixel((3, 5))[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("depth", "colours", "channels"), [(16, 0, 1), (8, 0, 1), (8, 2, 3), (8, 6, 4), (16, 6, 4)])
def test_a_small_file_takes_no_more_memory_than_the_bound(tmp_path, depth, colours, channels):
    """8,000 × 8,000 pixels from some hundred kilobytes; each process that decodes may meet one."""
    width = height = 8000
    row = b"\0" + b"\x80" * (width * channels * depth // 8)
    png(tmp_path / "x.png", width, height, depth, colours, row * height)
    assert (tmp_path / "x.png").stat().st_size < 4_000_000
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / "x.png"], capture_output=True, text=True, check=True)
    side, value, megabytes = map(int, done.stdout.split())
    assert (side, value) == (width, 128)
    assert megabytes < 512 + 64


def test_rows_without_end_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    for width, height in ((1, 80_000_000), (80_000_000, 1)):
        png(tmp_path / "x.png", width, height, 8, 0, b"")
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it was decoded"))
        with pytest.raises(DataError, match=r"80,000,000.*65,535 a side are the most"):
            read_rgb(tmp_path / "x.png")


def test_what_would_take_too_many_bytes_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    png(tmp_path / "x.png", 9400, 9400, 8, 6, b"")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="would take 589 MiB to decode, more than 512"):
        read_rgb(tmp_path / "x.png")


def test_bands_of_deep_pixels_join_to_the_whole(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (37, 11), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    whole = read(tmp_path / "x.png")
    monkeypatch.setattr("ddeep.data.decoding._AT_ONCE", 30)
    assert np.array_equal(read(tmp_path / "x.png"), whole)
    assert np.array_equal(whole[:, :, 0], (values.astype(np.int64) + 128) // 257)
