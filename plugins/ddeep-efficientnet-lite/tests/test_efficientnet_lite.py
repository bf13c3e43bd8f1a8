"""The weights are the real ones: against the published wheel, and on real images where those are at hand."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from ddeep_efficientnet_lite import build, ddeep_models
from PIL import Image

from ddeep.plugin import load_strictly, load_weights

(SPEC,) = ddeep_models()
(WEIGHTS,) = SPEC.weights
IMAGES = Path(os.environ.get("DDEEP_TEST_DATA") or Path(__file__).parents[3] / "data") / "tiny-imagenet-10" / "val"

# The ten folders and the outputs of ImageNet's 1,000 that they stand for.
OUTPUTS = {
    "n01641577": 30,  # bullfrog
    "n02124075": 285,  # Egyptian cat
    "n02802426": 430,  # basketball
    "n03970156": 731,  # plunger
    "n04067472": 758,  # reel
    "n04099969": 765,  # rocking chair
    "n04540053": 890,  # volleyball
    "n07749582": 951,  # lemon
    "n07920052": 967,  # espresso
    "n09246464": 972,  # cliff
}


def network() -> torch.nn.Module:
    module = build(1000).eval()
    load_strictly(module, load_weights(WEIGHTS, Path()))
    return module


def test_the_packaged_file_is_the_published_one() -> None:
    package, _, path = str(WEIGHTS.file).partition(":")
    content = files(package).joinpath(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == WEIGHTS.sha256


def test_real_images_are_recognised() -> None:
    """Ten images of each class, by Pillow and torch alone: most are right among the ten."""
    if not IMAGES.is_dir():
        pytest.skip("needs tiny-imagenet-10 under data (see data/README.md)")
    pixels, labels = [], []
    for label, folder in enumerate(sorted(OUTPUTS)):
        for file in sorted((IMAGES / folder).glob("*.JPEG"))[:10]:
            image = Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
            pixels.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(224, 224, 3))
            labels.append(label)
    images = torch.stack(pixels).permute(0, 3, 1, 2).float() / 255
    module = network()
    with torch.no_grad():
        logits = torch.cat([module(part) for part in ((images - 0.5) / 0.5).split(25)])
    among = logits[:, [OUTPUTS[folder] for folder in sorted(OUTPUTS)]]
    right = (among.argmax(1) == torch.tensor(labels)).float().mean()
    # 84.8 % over all 500 images; a hundred of them spread by four points.
    assert right > 0.7
