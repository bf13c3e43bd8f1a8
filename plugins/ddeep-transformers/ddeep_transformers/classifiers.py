"""A folder's classifier as a ModelSpec: architecture, weights, class names and preprocessing from its own files.

Read are ``config.json``, ``preprocessor_config.json`` and safetensors: no pickle is opened, and no code that comes with
a folder runs (``trust_remote_code`` stays false).
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ddeep  # noqa: F401 - first: it repairs torchvision's import

# isort: split
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification
from transformers.utils import logging

from ddeep.plugin import ModelSpec, WeightsError, WeightsSpec

from .folders import find
from .recipes import recipe_of

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def spec(member: str) -> ModelSpec:
    """The classifier in the folder ``member``, or of the hub's repository of that name, with its weights.

    Raises LookupError where there is none, and WeightsError for a folder that holds no image classifier.
    """
    folder = find(member)
    config = _config(folder)
    names = [str(config.id2label[at]) for at in range(config.num_labels)]
    recipe = recipe_of(folder)
    weights = WeightsSpec(
        "own",
        summary=f"{config.num_labels:,} classes, from its folder",
        source=str(folder),
        mean=recipe.mean,
        std=recipe.std,
        size=recipe.size,
        resize=recipe.resize,
        interpolation=recipe.interpolation,
        squash=recipe.squash,
        state=partial(own_state, folder),
        num_classes=config.num_labels,
        classes=None if names == [f"LABEL_{at}" for at in range(len(names))] else tuple(names),
    )
    return ModelSpec(
        f"hf/{member}",
        summary=f"{_architecture(config)} of transformers",
        source=f"transformers {transformers.__version__}",
        build=partial(build, folder),
        weights=(weights,),
    )


def build(folder: Path, num_classes: int) -> nn.Module:
    """The folder's architecture with fresh weights."""
    config = copy.deepcopy(_config(folder))
    if config.num_labels != num_classes:
        config.num_labels = num_classes
    with _quiet():
        module: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False).float()
    return module


def own_state(folder: Path) -> dict[str, Tensor]:
    """The folder's weights, as transformers loads them. Raises WeightsError unless they are all there."""
    try:
        with _quiet():
            module, told = AutoModelForImageClassification.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_LOCAL
            )
    except Exception as error:
        raise WeightsError(
            f"{folder} has no weights that load: {_line(error)} It should hold model.safetensors (or several, and "
            "model.safetensors.index.json); pickles (pytorch_model.bin) are not opened."
        ) from error
    if lost := sorted(map(str, told["missing_keys"])) or sorted(map(str, told["mismatched_keys"])):
        raise WeightsError(
            f"The weights in {folder} lack {len(lost)} of the network's, such as {lost[0]}: they are of something else "
            "than an image classifier, or have not been trained as one."
        )
    state: dict[str, Tensor] = module.state_dict()
    return state


def _config(folder: Path) -> Any:
    """``config.json`` read, where it is an image classifier's."""
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder} holds no config.json. Name a folder as save_pretrained writes it.")
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(folder, **_LOCAL)
    except Exception as error:
        if "architecture" in _keys(path) and "model_type" not in _keys(path):
            raise WeightsError(f"{folder} is a model of timm's: name it timm/local-dir:{folder}.") from error
        raise WeightsError(f"{path} names no architecture that transformers has: {_line(error)}") from error
    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise WeightsError(
            f"{path} is of a {config.model_type or 'nameless'} network, for which transformers has no image classifier."
        )
    return config


def _keys(path: Path) -> set[str]:
    try:
        return set(json.loads(path.read_bytes()[: 1 << 20]))
    except (ValueError, TypeError, RecursionError):
        return set()


def _architecture(config: Any) -> str:
    return (config.architectures or [f"{config.model_type} classifier"])[0]


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own remarks and progress bars: stdout and stderr are ddeep's."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
