"""Specs of `resnet50` and of two whole libraries of architectures. Neither library is imported here."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep.plugin import ModelFamily, ModelSpec, WeightsSpec

_HERE = "ddeep_plugins_builtin.models"

# torchvision's two sets of weights: recipe, the side its images are resized to, the published file, top-1 accuracy.
# The paper's network is the first.
_RESNET50 = (
    ("IMAGENET1K_V1", 256, "resnet50-0676ba61.pth", 76.130),
    ("IMAGENET1K_V2", 232, "resnet50-11ad3fa6.pth", 80.858),
)


def specs() -> Iterator[ModelSpec | ModelFamily]:
    yield ModelSpec(
        "resnet50",
        summary="ResNet50 for ImageNet, 2,048 filters at its last layer",
        source="He et al., Deep residual learning for image recognition, CVPR 2016; torchvision",
        build=f"{_HERE}.torchvision_models:resnet50",
        head="fc",
        layer="layer4",
        pool="mean",
        weights=tuple(
            WeightsSpec(
                name,
                summary=f"torchvision's, {accuracy:.2f} % on ImageNet's validation images",
                source="pytorch.org/vision/stable/models.html (BSD-3-Clause)",
                dataset="imagenet",
                mean=(0.485, 0.456, 0.406),
                std=(0.229, 0.224, 0.225),
                size=224,
                resize=resize,
                url=f"https://download.pytorch.org/models/{filename}",
                sha256=filename.removeprefix("resnet50-").removesuffix(".pth"),
                filename=filename,
                num_classes=1000,
            )
            for name, resize, filename, accuracy in _RESNET50
        ),
        dataset="imagenet",
        k=64,
    )
    yield ModelFamily(
        "timm",
        summary="every classifier of timm, `timm/<name>` or `timm/<name>.<weights>`",
        source="Wightman, PyTorch Image Models (Apache-2.0)",
        names=f"{_HERE}.timm_models:names",
        resolve=f"{_HERE}.timm_models:spec",
    )
    yield ModelFamily(
        "torchvision",
        summary="every classifier of torchvision, `torchvision/<name>`",
        source="torchvision (BSD-3-Clause)",
        names=f"{_HERE}.torchvision_models:names",
        resolve=f"{_HERE}.torchvision_models:spec",
    )
