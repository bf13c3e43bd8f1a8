"""The classifiers of torchvision, one ModelSpec for each, built on request."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision import models

from ddeep.plugin import Interpolation, ModelSpec, WeightsError, WeightsSpec, offline

_INTERPOLATIONS: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest"}

# Options without which a fresh network is not the one the published weights are for, or prints warnings.
_OPTIONS: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
# Their published files hold auxiliary heads or old parameter names, which only torchvision's constructors can read.
_OWN_LOADING = ("densenet", "googlenet", "inception_v3")


def names() -> list[str]:
    """Every classifier's name."""
    found: list[str] = models.list_models(module=models)
    return found


def spec(member: str) -> ModelSpec:
    """The classifier ``member`` with its published weights, the recommended ones first.

    Raises LookupError for a name that torchvision does not know.
    """
    if member not in names():
        raise LookupError(member)
    published = models.get_model_weights(member)
    chosen = sorted(published, key=lambda weights: weights != published.DEFAULT)
    return ModelSpec(
        f"torchvision/{member}",
        summary=f"{member} of torchvision",
        source=f"torchvision {torchvision.__version__}",
        build=partial(build, member),
        convert=_without_dots if member.startswith("densenet") else None,
        weights=tuple(_weights(member, weights) for weights in chosen),
        dataset="imagenet",
        k=64,
    )


def build(name: str, num_classes: int) -> nn.Module:
    """The classifier with fresh weights and without auxiliary heads: its output is logits in training, too."""
    options: dict[str, bool | int] = dict(_OPTIONS.get(name, {}))
    if name.startswith("vit_"):  # made for one size of images: that of the recommended weights
        options["image_size"] = models.get_model_weights(name).DEFAULT.meta["min_size"][0]
    module: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if isinstance(module, models.DenseNet):
        # Its last ReLU is a function, which no hook sees. Another one in front of it changes nothing.
        module.features.add_module("relu5", nn.ReLU(inplace=True))
    return module


def _without_dots(state: dict[str, Tensor], num_classes: int) -> dict[str, Tensor]:  # noqa: ARG001
    """The names of old DenseNet checkpoints, the published ones among them, as torchvision has them now."""
    return {re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", name): tensor for name, tensor in state.items()}


def resnet50(num_classes: int) -> nn.Module:
    """torchvision's ResNet50."""
    return build("resnet50", num_classes)


def pretrained_state(name: str, weights: str) -> dict[str, Tensor]:
    """Published weights as torchvision's constructor loads them, from torch's own cache or downloaded to it.

    Raises WeightsError, with the address and the file's place, if neither is possible.
    """
    published = models.get_model_weights(name)[weights]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        if offline() and not file.is_file():
            raise OSError("downloads are forbidden (--offline or DDEEP_OFFLINE)")
        module = models.get_model(name, weights=published, progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"The weights {weights} of torchvision's {name} cannot be had: {error}. Download {published.url} where "
            f"there is a network and put it at {file}, or give your own with --weights FILE."
        ) from error
    if name == "inception_v3":
        module.AuxLogits = None  # used in training only, where it would make the output a tuple
    state: dict[str, Tensor] = module.state_dict()
    return state


def _weights(name: str, weights: models.WeightsEnum) -> WeightsSpec:
    transforms = weights.transforms()
    classes, accuracy = len(weights.meta["categories"]), weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    filename = Path(weights.url).name
    own_loading = name.startswith(_OWN_LOADING)
    return WeightsSpec(
        weights.name,
        summary=f"{accuracy:.2f} % on ImageNet's validation images, by torchvision's account",
        source=weights.url,
        dataset="imagenet",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        interpolation=_INTERPOLATIONS[transforms.interpolation.value],
        state=partial(pretrained_state, name, weights.name) if own_loading else None,
        url=None if own_loading else weights.url,
        sha256=None if own_loading else filename.removesuffix(".pth").rpartition("-")[2],
        filename=None if own_loading else filename,
        num_classes=classes,
    )
