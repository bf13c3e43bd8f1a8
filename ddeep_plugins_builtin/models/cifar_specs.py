"""Specs of the CIFAR ResNets: where their weights are and how those want their images."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep.plugin import ModelSpec, WeightsSpec

_SOURCE = "He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2"
_PUBLISHED_SOURCE = "github.com/akamaster/pytorch_resnet_cifar10 (Yerlan Idelbayev, BSD-2-Clause)"
_PUBLISHED = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"

# Depth, the published file's sha256 (of all but the first its first eight digits, as its name carries them), and the
# accuracy that its author reports.
_DEPTHS = (
    (20, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 91.73),
    (32, "d509ac18", 92.63),
    (44, "014dd654", 93.10),
    (56, "4bfd9763", 93.39),
    (110, "1d1ed7c2", 93.68),
)

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _published(depth: int, sha256: str, accuracy: float) -> WeightsSpec:
    filename = f"resnet{depth}-{sha256[:8]}.th"
    return WeightsSpec(
        f"resnet{depth}-{sha256[:8]}",
        summary=f"published checkpoint, {accuracy:.2f} % on CIFAR-10's test split",
        source=_PUBLISHED_SOURCE,
        dataset="cifar10",
        # The checkpoints were trained with ImageNet's mean and deviation on CIFAR's images.
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        size=32,
        url=_PUBLISHED + filename,
        sha256=sha256,
        filename=filename,
        num_classes=10,
        classes=_CIFAR10,
    )


# Trained by this project: the cards beside the files tell how. studies/reproduce_weights.py makes them again.
_DIGITS = WeightsSpec(
    "resnet20-digits",
    summary="trained by this project, 99.45 % on the test split of digits",
    source="ddeep_plugins_builtin/weights/resnet20-digits.md",
    dataset="digits",
    mean=(0.3057, 0.3057, 0.3057),
    std=(0.3237, 0.3237, 0.3237),
    size=32,
    file="ddeep_plugins_builtin:weights/resnet20-digits.safetensors",
    num_classes=10,
    classes=tuple("0123456789"),
)
_OWN_CIFAR10 = WeightsSpec(
    "resnet20-cifar10",
    summary="trained by this project, 91.22 % on the test split of CIFAR-10",
    source="ddeep_plugins_builtin/weights/resnet20-cifar10.md",
    dataset="cifar10",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.247, 0.2435, 0.2616),
    size=32,
    file="ddeep_plugins_builtin:weights/resnet20-cifar10.safetensors",
    num_classes=10,
    classes=_CIFAR10,
)


def specs() -> Iterator[ModelSpec]:
    for depth, sha256, accuracy in _DEPTHS:
        published = _published(depth, sha256, accuracy)
        yield ModelSpec(
            f"resnet{depth}",
            summary=f"ResNet{depth} for 32x32 images, 64 filters at its last layer",
            source=_SOURCE,
            build=f"ddeep_plugins_builtin.models.cifar_resnet:resnet{depth}",
            head="linear",
            layer=f"layer3.{(depth - 2) // 6 - 1}",
            pool="mean",
            # The paper's checkpoint where it is at hand, else what comes with ddeep.
            weights=(_DIGITS, published, _OWN_CIFAR10) if depth == 20 else (published,),
            dataset="digits" if depth == 20 else "cifar10",
            k=5,
        )
