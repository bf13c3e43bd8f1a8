"""Weights for a network: where they are, whether they fit, and which they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, overload
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .. import console
from ..errors import WeightsError
from ..files.atomic import sha256_of
from ..files.downloads import DownloadError, matches
from ..files.downloads import download as fetch
from ..registry.specs import WeightsSpec, resolve
from .state_dicts import check_state_dict, read_state_dict

__all__ = ["find_weights", "load_strictly", "load_weights", "read_state_dict", "weights_hash"]

_LISTED = 5
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_COUNTER = ".num_batches_tracked"
_LEFTOVERS = ("n_averaged", "total_ops", "total_params", "num_batches_tracked")
_AUXILIARY = re.compile(r"(aux\d?|aux_?logits|aux_head|aux_classifier)\.", re.IGNORECASE)


def load_weights(weights: WeightsSpec, data_dir: Path) -> dict[str, Tensor]:
    """The state dict of ``weights``: a local file if there is one, else what its library carries, else a download."""
    if weights.state is not None and find_weights(weights, data_dir, download=False) is None:
        return check_state_dict(resolve(weights.state)(), f"The weights {weights.name!r}")
    return read_state_dict(find_weights(weights, data_dir))


@overload
def find_weights(weights: WeightsSpec, data_dir: Path) -> Path: ...
@overload
def find_weights(weights: WeightsSpec, data_dir: Path, *, download: bool) -> Path | None: ...
def find_weights(weights: WeightsSpec, data_dir: Path, *, download: bool = True) -> Path | None:
    """The packaged file of ``weights``, or the one under ``data_dir/weights``, downloaded if it is not there.

    With ``download=False``, None where there is neither. Raises WeightsError if a file's hash is not the published one,
    and if the weights can be had in no way.
    """
    packaged = _packaged(weights.file) if weights.file is not None else None
    if packaged is not None:
        return packaged
    path, expected = _place(weights, data_dir), _expected_hash(weights)
    if path is not None and path.is_file():
        if expected and not matches(sha256_of(path), expected):
            raise WeightsError(
                f"{path} is not the published file of the weights {weights.name!r}: its sha256 does not begin with "
                f"{expected[:8]}. Remove it, or give it as --weights {path}."
            )
        return path
    if not download:
        return None
    if weights.url is None or path is None:
        where = f"Put the file at {path}, or give" if path is not None else "Give"
        raise WeightsError(f"The weights {weights.name!r} are not installed. {where} one with --weights FILE.")
    try:
        return fetch(weights.url, expected, path, f"the weights {weights.name!r}")
    except DownloadError as error:
        raise WeightsError(f"{error} Put the file at {path}, or give one with --weights FILE.") from error


def build_fitting(
    build: Callable[[int], nn.Module], outputs: int, state: Mapping[str, Tensor], label: str, *, head: str | None = None
) -> nn.Module:
    """The network that ``build`` makes, if ``state`` fits it: compared by shapes before it takes any memory.

    A stranger's file may name any architecture. ``head``: parameters below that name are not looked at. One whose
    making needs numbers cannot be made without memory; it is compared when it is loaded.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _Unfilled():
            sketch = build(outputs)
    except Exception:  # of any kind: it is made in earnest next, and fails there if it fails at all
        sketch = None
    if sketch is not None:
        skipped = f"{head}." if head is not None else "\0"
        state = fitting(state, sketch.state_dict()) or state
        _check_fit(sketch, {n: t for n, t in state.items() if not n.startswith(skipped)}, label, skipped)
    return build(outputs)


class _Unfilled(TorchFunctionMode):
    """Random numbers fill no tensor: without memory it has no use for them, and torch loads its compiler to know so."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], label: str = "The weights") -> dict[str, Tensor]:
    """Copy ``state`` into ``module`` and return what was copied: every name and shape must fit, or WeightsError lists
    what does not.

    Names may carry the prefixes of wrappers (see ``fitting``). Only the batch counters of batch norms may be missing:
    they are newer than many published weights, and unused.
    """
    fitted = fitting(state, module.state_dict()) or dict(state)
    heads = sorted({name.partition(".")[0] for name in state if _AUXILIARY.match(name) and name not in fitted})
    if heads and len(fitted) < len(state):
        console.note(f"Auxiliary heads, which serve training alone, were left out: {', '.join(heads)}.")
    counters = _check_fit(module, fitted, label)
    module.load_state_dict({**fitted, **counters}, strict=True)
    return fitted


def _check_fit(module: nn.Module, state: Mapping[str, Tensor], label: str, skipped: str = "\0") -> dict[str, Tensor]:
    """Raise WeightsError unless ``state`` fits all of ``module`` but what begins with ``skipped``; what it may lack."""
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(skipped)}
    missing = [name for name in wanted if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in wanted]
    unfit = [
        f"{name} is {_shown(state[name])}, not {_shown(tensor)}"
        for name, tensor in wanted.items()
        if name in state and _kind(state[name]) != _kind(tensor)
    ]
    problems = [
        f"{kind} {_listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("unfit:", unfit))
        if names
    ]
    if problems:
        raise WeightsError(
            f"{label}: made for another network than {type(module).__name__}: {'; '.join(problems)}. "
            "Choose the weights, or the model and its number of classes, that belong together."
        )
    return {name: tensor for name, tensor in wanted.items() if name not in state}


def fitting(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """``state`` by the names of ``wanted``; None where no prefix makes its names fit.

    The prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``, ``net.``) go in whatever order they are nested;
    what training leaves beside weights (counters, floating-point operations) and auxiliary heads that the network does
    not have are left out.
    """
    left = dict(state)
    while True:
        unknown = [name for name in left if name not in wanted]
        spare = [name for name in unknown if name.rpartition(".")[2] in _LEFTOVERS or _AUXILIARY.match(name)]
        kept = {name: tensor for name, tensor in left.items() if name not in spare}
        if kept.keys() <= wanted.keys() and all(name in kept or name.endswith(_COUNTER) for name in wanted):
            return kept
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in left)), "")
        inside = [name for name in left if not name.startswith(prefix)] if prefix else list(left)
        if any(name.rpartition(".")[2] not in _LEFTOVERS for name in inside):
            return None
        left = {name.removeprefix(prefix): tensor for name, tensor in left.items() if name.startswith(prefix)}


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Hex sha256 of names, types, shapes and values: the same for every file format and order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _packaged(file: str) -> Path | None:
    """The file that ``"package:path"`` names, if it is installed."""
    package, _, inside = file.partition(":")
    try:
        path = Path(str(files(package).joinpath(inside)))
    except ModuleNotFoundError:
        return None
    return path if path.is_file() else None


def _place(weights: WeightsSpec, data_dir: Path) -> Path | None:
    """Where the file of ``weights`` belongs under ``data_dir``."""
    name = weights.filename or (PurePosixPath(urlsplit(weights.url).path).name if weights.url else "")
    return Path(data_dir) / "weights" / name if name else None


def _expected_hash(weights: WeightsSpec) -> str:
    """The published sha256, or the first digits of it that the published file name carries; empty if neither."""
    if weights.sha256:
        return weights.sha256
    in_name = re.search(r"-([0-9a-f]{8,64})\.\w+$", weights.url or weights.filename or "")
    return in_name[1] if in_name else ""


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()


def _shown(tensor: Tensor) -> str:
    sides = "×".join(str(side) for side in tensor.shape) or "a scalar"
    return sides if tensor.is_floating_point() else f"{sides} ({str(tensor.dtype).removeprefix('torch.')})"


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more
