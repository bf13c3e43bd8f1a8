"""The architectures of timm, one ModelSpec for each, built on request."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Any, cast

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model, list_pretrained, split_model_name_tag
from torch import Tensor, nn
from torch.nn import ModuleList

from ddeep.plugin import Interpolation, ModelSpec, WeightsError, WeightsSpec, load_strictly, offline

from . import timm_folders
from .one_head import with_one_linear_head

_INTERPOLATIONS: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "nearest": "nearest"}


def names() -> list[str]:
    """Every architecture's name, without weights."""
    found: list[str] = timm.list_models()
    return found


def spec(member: str) -> ModelSpec:
    """The architecture ``name`` with all its published weights, or with those of ``name.weights`` alone.

    ``local-dir:FOLDER`` and ``hf-hub:OWNER/NAME`` are models as timm shares them. Raises LookupError for a name that
    timm does not know.
    """
    if member.startswith(timm_folders.PREFIXES):
        return timm_folders.spec(member, build, convert)
    architecture, tag = split_model_name_tag(member)
    published = list_pretrained(f"{architecture}.*")
    if not is_model(architecture) or (tag and member not in published):
        raise LookupError(member)
    preferred = get_pretrained_cfg(architecture)
    first = f"{architecture}.{preferred.tag}" if preferred and preferred.tag else ""
    chosen = [member] if tag else sorted(published, key=lambda name: name != first)
    weights = tuple(found for name in chosen if (found := _weights(name)) is not None)
    return ModelSpec(
        f"timm/{member}",
        summary=f"{architecture} of timm",
        source=f"timm {timm.__version__}",
        build=partial(build, architecture),
        convert=partial(convert, architecture),
        weights=weights,
        dataset=weights[0].dataset if weights else "imagenet",
        k=64,
    )


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """The architecture with fresh weights, its head one linear layer where that can be had."""
    return _with_linear_head(timm.create_model(name, num_classes=num_classes, **options))


def convert(name: str, state: dict[str, Tensor], num_classes: int, **options: Any) -> dict[str, Tensor]:
    """A checkpoint of timm's own architecture as one of the network that ``build`` makes of it."""
    module = timm.create_model(name, num_classes=num_classes, **options)
    load_strictly(module, state, f"The weights for timm's {name}")
    return _with_linear_head(module).state_dict()


def pretrained_state(name: str) -> dict[str, Tensor]:
    """The published weights ``architecture.tag``, from timm's own cache or downloaded by timm.

    Raises WeightsError, with where to get them, if neither is possible.
    """
    config = cast(PretrainedCfg, get_pretrained_cfg(name))
    where = _address(config)
    try:
        if offline() or not _reachable("huggingface.co" if config.hf_hub_id else "github.com"):
            if not config.hf_hub_id:
                raise OSError("no network, and no copy in a cache that can be asked")
            from huggingface_hub import constants

            constants.HF_HUB_OFFLINE = True  # it would try six times, for most of a minute
        module = timm.create_model(name, pretrained=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"The weights {name!r} cannot be had from {where}: {reason} Where there is a network, run "
            f"`python -c 'import timm; timm.create_model(\"{name}\", pretrained=True)'` and bring its cache "
            "(HF_HOME, by default ~/.cache/huggingface) here, or give your own with --weights FILE."
        ) from error
    return _with_linear_head(module).state_dict()


def _with_linear_head(module: nn.Module) -> nn.Module:
    if not hasattr(module, "get_classifier"):  # an encoder of something else than classes
        return module
    classifier = module.get_classifier()  # type: ignore[operator]
    several = isinstance(classifier, tuple | list | ModuleList)
    return with_one_linear_head(module, list(classifier) if several else [classifier])


def _weights(name: str) -> WeightsSpec | None:
    """The weights called ``name`` and their own preprocessing; None for those without a classifier."""
    config = cast(PretrainedCfg, get_pretrained_cfg(name))
    if not config.num_classes:
        return None
    size = config.input_size[-1]
    fitting = (
        ""
        if config.crop_mode in ("center", "squash")
        else f"; made for images fitted by '{config.crop_mode}', not cropped"
    )
    return WeightsSpec(
        config.tag or "default",
        summary=f"{config.num_classes:,} classes{fitting}",
        source=_address(config),
        dataset="imagenet" if config.num_classes == 1000 else f"imagenet-{config.num_classes}",
        mean=tuple(config.mean),
        std=tuple(config.std),
        size=size,
        resize=max(size, int(size / config.crop_pct)),  # timm rounds down, too
        interpolation=_INTERPOLATIONS.get(config.interpolation, "bicubic"),
        squash=config.crop_mode == "squash",
        state=partial(pretrained_state, name),
        num_classes=config.num_classes,
    )


def _address(config: PretrainedCfg) -> str:
    return f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)


def _reachable(host: str) -> bool:
    if {"https_proxy", "HTTPS_PROXY", "HF_ENDPOINT"} & set(os.environ):
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
