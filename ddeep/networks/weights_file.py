"""Weights files that say what they are: written by training, read wherever a weights file is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..data.preprocessing import Preprocessing
from ..errors import WeightsError
from ..files.json import parse_object
from ..files.regular import require_readable
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..registry.specs import Interpolation, WeightsSpec
from .head import Head

LEARNED = "regularizer."  # how names of a regularizer's parameters begin, beside the network's own
MOST_SIDE = 2048  # pixels that a file may ask images to be resized to: a batch of them must fit in memory
FACTS = "ddeep"  # the key, in the file's header, of what it says of itself


def write_trained(
    state: Mapping[str, Tensor],
    path: Path,
    *,
    model: str,
    dataset: str,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    learned: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a state dict together with what is needed to use it, and what a regularizer learned along with it."""
    extra = {f"{LEARNED}{name}": value for name, value in (learned or {}).items()}
    facts = {
        "model": model,
        "dataset": dataset,
        "classes": list(classes),
        "preprocessing": preprocessing.identity(),
    }
    write_tensors({**state, **extra}, path, {FACTS: json.dumps(facts)})


def split_learned(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's own parameters, and what a regularizer learned along with them."""
    own = {name: value for name, value in state.items() if not name.startswith(LEARNED)}
    return own, {name.removeprefix(LEARNED): value for name, value in state.items() if name not in own}


class _Recipe(BaseModel):
    """How such a file says that its images are prepared."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    size: int = Field(ge=1, le=MOST_SIDE)
    resize: int = Field(ge=1, le=MOST_SIDE)
    interpolation: Interpolation
    squash: bool = False


class _Facts(BaseModel):
    """What such a file says of itself."""

    dataset: str
    classes: tuple[str, ...]
    preprocessing: _Recipe


def describe_file(path: Path) -> WeightsSpec | None:
    """What ``write_trained`` put into the file's header; None for any other file.

    Raises WeightsError where it says what cannot be: the file may be a stranger's.
    """
    try:
        require_readable(path)
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(FACTS)
            rows = {file.get_slice(name).get_shape()[0] for name in file.keys() if file.get_slice(name).get_shape()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    if text is None:
        return None
    try:
        facts = _Facts.model_validate(parse_object(text))
    except ValidationError as error:
        raise WeightsError(f"{path}: in its header, {first_problem(error)}. {_TRAIN}") from None
    except ValueError as error:
        raise WeightsError(f"{path}: its header is no description of weights: {error}. {_TRAIN}") from None
    if len(facts.classes) not in rows:
        raise WeightsError(f"{path}: its header names {len(facts.classes)} classes, but no tensor has as many rows.")
    return WeightsSpec(
        str(path),
        dataset=facts.dataset,
        num_classes=len(facts.classes),
        classes=facts.classes,
        **facts.preprocessing.model_dump(),
    )


_TRAIN = "Use a file that `ddeep train` has written."


_WEIGHT, _BIAS = "final_weights", "final_bias"


def split_final_head(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Head | None]:
    """The dense network's own parameters, and the decomposed head of the paper's authors if there is one beside it.

    Its ``final_weights`` (C, k) and ``final_bias`` (C) belong to the filters of another file, in that file's order.
    """
    dense = {name: value for name, value in state.items() if name not in (_WEIGHT, _BIAS)}
    if len(dense) == len(state):
        return dense, None
    missing = [name for name in (_WEIGHT, _BIAS) if name not in state]
    if missing:
        raise WeightsError(f"The weights have half of a decomposed head: {missing[0]!r} is missing.")
    weight, bias = state[_WEIGHT], state[_BIAS]
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise WeightsError(f"The decomposed head's {_WEIGHT} and {_BIAS} have the shapes {shapes}, not (C, k) and (C).")
    return dense, Head(weight.float(), bias.float())
