from pathlib import Path

import pytest
import torch

from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import DataError

PIXELS = torch.arange(3 * 4 * 4 * 3, dtype=torch.uint8).view(3, 4, 4, 3)
LABELS = torch.tensor([0, 2, 1])


def hashed(pixels=PIXELS, labels=LABELS, classes=("a", "b", "c")) -> str:
    return TensorImages.of(pixels, labels, classes).content_hash


def test_the_hash_tells_everything_apart():
    changed = PIXELS.clone()
    changed[2, 3, 3, 2] += 1
    variants = [
        hashed(),
        hashed(pixels=changed),
        hashed(pixels=PIXELS.view(3, 2, 8, 3)),
        hashed(labels=torch.tensor([0, 1, 2])),
        hashed(classes=("a", "c", "b")),
        hashed(classes=("a", "b", "c", "d")),
        hashed(classes=("a", "bc", "")),
    ]
    assert len(set(variants)) == len(variants)


def test_the_hash_does_not_depend_on_strides():
    assert hashed(pixels=PIXELS.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3)) == hashed()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 3, 1])}, "Label 3 is out of range: .* 0 to 2"),
        ({"labels": torch.tensor([0, -1, 1])}, "Label -1 is out of range"),
        ({"classes": ("a", "b", "a")}, "Two classes are named 'a'"),
        ({"pixels": PIXELS[:0], "labels": LABELS[:0]}, "holds no images"),
    ],
)
def test_images_that_make_no_sense(change, message):
    given = {"pixels": PIXELS, "labels": LABELS, "classes": ("a", "b", "c"), "content_hash": "0"} | change
    with pytest.raises(DataError, match=message):
        TensorImages(**given)
    files = [Path(f"{number}.png") for number in range(len(given.pop("pixels")))]
    del given["content_hash"]
    with pytest.raises(DataError, match=message):
        FileImages(files=files, **given)


def test_one_label_per_file():
    with pytest.raises(DataError, match=r"2 images need 2 int64 labels, not \(3,\)"):
        FileImages([Path("a"), Path("b")], LABELS, ("a", "b", "c"))


def test_classes_without_images_are_fine():
    assert len(TensorImages.of(PIXELS, LABELS, [str(name) for name in range(1000)])) == 3
