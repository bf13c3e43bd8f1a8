"""Small random classifiers of many architectures, each with the image processor that belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ddeep  # noqa: F401 - first: it repairs torchvision's import

# isort: split
import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LABELS = {"num_labels": 10, "id2label": dict(enumerate(NAMES)), "label2id": {name: at for at, name in enumerate(NAMES)}}
SQUARE = {"height": 32, "width": 32}
TOKENS: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "vit": (lambda: hf.ViTConfig(**TOKENS, **LABELS), hf.ViTForImageClassification, hf.ViTImageProcessor(size=SQUARE)),
    "deit": (
        lambda: hf.DeiTConfig(**TOKENS, **LABELS),
        hf.DeiTForImageClassification,
        hf.DeiTImageProcessor(size={"height": 36, "width": 36}, crop_size=SQUARE),
    ),
    "swin": (
        lambda: hf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, **LABELS
        ),
        hf.SwinForImageClassification,
        hf.ViTImageProcessor(size=SQUARE),
    ),
    "convnext": (
        lambda: hf.ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], **LABELS),
        hf.ConvNextForImageClassification,
        hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    ),
    "resnet": (
        lambda: hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **LABELS),
        hf.ResNetForImageClassification,
        hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    ),
    "mobilenet_v2": (
        lambda: hf.MobileNetV2Config(image_size=32, depth_multiplier=0.25, **LABELS),
        hf.MobileNetV2ForImageClassification,
        hf.MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size=SQUARE),
    ),
    "beit": (
        lambda: hf.BeitConfig(**TOKENS, **LABELS),
        hf.BeitForImageClassification,
        hf.BeitImageProcessor(size={"height": 36, "width": 36}, crop_size=SQUARE, do_center_crop=True),
    ),
    "dinov2": (
        lambda: hf.Dinov2Config(**TOKENS, **LABELS),
        hf.Dinov2ForImageClassification,
        hf.BitImageProcessor(size={"shortest_edge": 36}, crop_size=SQUARE),
    ),
    "efficientnet": (
        lambda: hf.EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, **LABELS
        ),
        hf.EfficientNetForImageClassification,
        hf.EfficientNetImageProcessor(size=SQUARE, include_top=False),
    ),
    "regnet": (
        lambda: hf.RegNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], groups_width=4, **LABELS),
        hf.RegNetForImageClassification,
        hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    ),
}


@pytest.fixture
def save() -> Callable[[str, Path], Any]:
    return _save


def _save(architecture: str, folder: Path) -> Any:
    """Write such a classifier, with seeded weights, to ``folder``; returns it in eval mode."""
    configure, kind, processor = SMALL[architecture]
    torch.manual_seed(0)
    module = kind(configure()).eval()
    with torch.no_grad():
        for parameter in module.parameters():  # initialisation leaves much at zero, and networks look alike
            if parameter.ndim <= 1 or not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(0.5)
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    return module


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with a few pictures of noise of each class, higher than wide."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split in ("train", "test"):
        for name in NAMES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for at in range(3):
                Image.fromarray(random.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder / f"{at}.png")
    return root
