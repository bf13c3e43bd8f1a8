"""A vision transformer for 32 x 32 images: a model plugin for ddeep whose filters are token channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddeep import ModelSpec, WeightsSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn


def build(num_classes: int) -> nn.Module:
    """ViT with 16 patches of 8 x 8 pixels and a class token, four blocks, 64 channels."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=4, num_heads=4, mlp_ratio=2.0, num_classes=num_classes
    )


@hookimpl
def ddeep_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        "vit-mini",
        summary="vision transformer for 32x32 images, 64 token channels at its last layer",
        source="Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021 (arXiv 2010.11929); timm",
        build=build,
        head="head",
        layer="norm",
        pool="token",  # the head reads the class token; at inner layers "mean" averages all tokens
        weights=(
            WeightsSpec(
                "vit-mini-digits",
                summary="trained on the digits by this package's author",
                source="see this package's README",
                dataset="digits",
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
                size=32,
                file="ddeep_vit:vit-mini-digits.safetensors",
                num_classes=10,
            ),
        ),
        dataset="digits",
        k=8,
    )
