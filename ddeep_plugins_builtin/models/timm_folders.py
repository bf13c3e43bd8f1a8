"""Models of timm in a folder, as it saves and shares them: ``timm/local-dir:FOLDER`` and ``timm/hf-hub:OWNER/NAME``.

Read are ``config.json`` and ``model.safetensors``; a pickle beside them is not opened.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
from timm.models import is_model

from ddeep.plugin import (
    DownloadError,
    ModelSpec,
    WeightsError,
    WeightsSpec,
    hub_folder,
    is_hub_name,
    read_object,
    read_state_dict,
    recipe_beside,
)

PREFIXES = ("local-dir:", "hf-hub:")
_FILES = ("config.json", "model.safetensors")
_NOT_OF_THE_NETWORK = {  # but of where its weights are
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}


def spec(member: str, build: Any, convert: Any) -> ModelSpec:
    """The model in the folder or repository that ``member`` names.

    ``build`` and ``convert`` are those of any of timm's architectures. Raises LookupError for a name that is none, and
    WeightsError for a folder that holds no classifier.
    """
    folder = _folder(member)
    path = folder / "config.json"
    try:
        config = read_object(path)
        architecture, options = str(config["architecture"]), dict(config.get("model_args") or {})
        outputs, names = int(options.pop("num_classes", 0) or config["num_classes"]), config.get("label_names")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} is not as timm writes it ({type(error).__name__}: {error}).") from None
    if not is_model(architecture) or outputs < 1 or _NOT_OF_THE_NETWORK & set(options):
        raise WeightsError(f"{path} describes no classifier of timm {timm.__version__}: {architecture!r}.")
    found = recipe_beside(folder / _FILES[1])
    if found is None:
        raise WeightsError(f"{path} does not say how images are prepared: mean, std and input_size are missing.")
    recipe = found[0]
    weights = WeightsSpec(
        "own",
        summary=f"{outputs:,} classes, from its folder",
        source=str(folder),
        mean=recipe.mean,
        std=recipe.std,
        size=recipe.size,
        resize=recipe.resize,
        interpolation=recipe.interpolation,
        squash=recipe.squash,
        state=partial(read_state_dict, folder / _FILES[1]),
        num_classes=outputs,
        classes=tuple(map(str, names)) if isinstance(names, list) and len(names) == outputs else None,
    )
    return ModelSpec(
        f"timm/{member}",
        summary=f"{architecture} of timm",
        source=f"timm {timm.__version__}",
        build=partial(build, architecture, **options),
        convert=partial(convert, architecture, **options),
        weights=(weights,),
        k=64,
    )


def _folder(member: str) -> Path:
    kind, _, place = member.partition(":")
    if kind == "local-dir":
        if not Path(place).is_dir():
            raise WeightsError(f"There is no folder {place}. Name one as timm saves them, with {' and '.join(_FILES)}.")
        return Path(place)
    if not is_hub_name(place):
        raise LookupError(member)
    try:
        return hub_folder(place, _FILES)
    except DownloadError as error:
        raise WeightsError(str(error)) from error
