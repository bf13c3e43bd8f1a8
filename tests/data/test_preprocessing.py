import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import ConfigError, DataError
from ddeep.registry.specs import WeightsSpec

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MODES = {
    "nearest": transforms.InterpolationMode.NEAREST_EXACT,
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "bicubic": transforms.InterpolationMode.BICUBIC,
}


def pictures(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures: noise would make any two ways to resize differ."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    large = [np.array(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in small]
    return torch.from_numpy(np.stack(large))


def torchvision_way(pixels: torch.Tensor, recipe: Preprocessing) -> torch.Tensor:
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)])
    return torch.stack([steps(Image.fromarray(one.numpy())) for one in pixels])


channel = st.floats(0, 1)
deviation = st.floats(0.2, 2)


@given(st.tuples(channel, channel, channel), st.tuples(deviation, deviation, deviation), st.integers(1, 5))
def test_normalisation_is_torchvisions(mean, std, side):
    recipe = Preprocessing(mean, std, side, side)
    # Every byte in every channel.
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3 * side * side).view(3, 256, side, side).permute(1, 2, 3, 0)
    given_, wanted = recipe.normalise(pixels), torchvision_way(pixels, recipe)
    assert given_.dtype == torch.float32
    torch.testing.assert_close(given_, wanted, rtol=1e-6, atol=1e-6)


def test_the_batch_is_channels_last():
    batch = Preprocessing(*IMAGENET, 32, 32).normalise(pictures(4, 32, 32))
    assert batch.shape == (4, 3, 32, 32)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_the_pixels_given_are_not_changed():
    pixels = pictures(2, 32, 32)
    before = pixels.clone()
    Preprocessing(*IMAGENET, 32, 32).normalise(pixels)
    assert torch.equal(pixels, before)


def test_a_batch_made_in_inference_mode_does_not_poison_a_later_one():
    recipe = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 8, 8)
    with torch.inference_mode():
        recipe.normalise(pictures(1, 8, 8))
    weight = torch.ones(3, requires_grad=True)
    (recipe.normalise(pictures(1, 8, 8)).mean((2, 3)) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (36, 36)])
def test_squashing_makes_both_sides_alike_whatever_the_proportion(height, width):
    pixels, recipe = pictures(3, height, width), Preprocessing(*IMAGENET, 32, 36, "bicubic", squash=True)
    steps = transforms.Compose([transforms.Resize((36, 36), MODES["bicubic"]), transforms.CenterCrop(32)])
    wanted = torch.from_numpy(np.stack([np.array(steps(Image.fromarray(one.numpy()))) for one in pixels]))
    assert (recipe.fit(pixels).int() - wanted.int()).abs().max() <= 1
    assert "squashed" in str(recipe)
    assert recipe.identity()["squash"] is True
    assert "squash" not in Preprocessing(*IMAGENET, 32, 36).identity()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size", "resize"), [(32, 32, 48, 48), (64, 64, 48, 56), (40, 61, 32, 36), (61, 40, 33, 36)]
)
def test_resizing_a_batch_is_what_torchvision_does_to_pictures(interpolation, height, width, size, resize):
    pixels = pictures(5, height, width)
    recipe = Preprocessing(*IMAGENET, size, resize, interpolation)
    steps = transforms.Compose([transforms.Resize(resize, MODES[interpolation]), transforms.CenterCrop(size)])
    if interpolation == "nearest":  # Pillow breaks ties between two pixels otherwise than torch
        wanted = steps(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    else:
        wanted = torch.from_numpy(np.stack([np.array(steps(Image.fromarray(one.numpy()))) for one in pixels]))
    fitted = recipe.fit(pixels)
    assert fitted.shape == wanted.shape
    difference = (fitted.int() - wanted.int()).abs()
    assert difference.max() <= (0 if interpolation == "nearest" else 1)
    assert difference.float().mean() < 0.05
    torch.testing.assert_close(recipe.normalise(fitted), torchvision_way(fitted, recipe), rtol=1e-6, atol=2e-6)


def test_pixels_of_the_wrong_size_are_refused():
    with pytest.raises(DataError, match=r"fit\(\) them first"):
        Preprocessing(*IMAGENET, 24, 32).normalise(pictures(1, 32, 32))


def test_pixels_that_fit_are_not_copied():
    pixels = pictures(2, 32, 32)
    assert Preprocessing(*IMAGENET, 32, 32).fit(pixels).data_ptr() == pixels.data_ptr()


def test_it_comes_from_a_weights_spec_and_has_an_identity():
    weights = WeightsSpec("w", dataset="d", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), size=24)
    recipe = Preprocessing.of(weights)
    assert recipe == Preprocessing((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), 24, 24)
    assert hash(recipe) == hash(Preprocessing.of(weights))
    told = json.loads(json.dumps(recipe.identity()))
    assert told == {
        "mean": [0.1, 0.2, 0.3],
        "std": [1.0, 1.0, 1.0],
        "size": 24,
        "resize": 24,
        "interpolation": "bilinear",
    }


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"mean": (0.5,)}, "three numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "positive"),
        ({"std": (1.0, float("nan"), 1.0)}, "positive"),
        ({"size": 0}, "cropped"),
        ({"resize": 16}, "cropped"),
        ({"interpolation": "lanczos"}, "lanczos"),
    ],
)
def test_settings_that_make_no_sense(wrong, word):
    settings = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 32, "resize": 32, "interpolation": "bilinear"}
    # replace() would be checked by beartype before the message is made; the interpolation is not of the literal type.
    with pytest.raises(Exception, match=word):
        Preprocessing(**{**settings, **wrong})


def test_settings_errors_are_configuration_errors():
    with pytest.raises(ConfigError, match="resize at least that"):
        Preprocessing((0.5,) * 3, (0.5,) * 3, 32, 16)


def test_a_sliver_is_refused_before_it_is_blown_up():
    with pytest.raises(DataError, match="cannot be resized"):
        Preprocessing(*IMAGENET, 224, 224).resized(1, 1_000_000)
