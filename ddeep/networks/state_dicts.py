"""Weights from files that are not trusted: tensors are read, nothing is run."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .. import console
from ..errors import WeightsError
from ..files.pickles import BoundsError, NumpyError, check_pickle
from ..files.regular import open_regular
from .other_files import numpy_beside, refuse_new_protocol, refuse_other_kinds, refuse_programs

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module")
_AVERAGES = ("state_dict_ema", "model_ema", "model_state_dict_ema", "ema_state_dict", "ema")
_NESTED = 4  # how deep wrappers may lie in each other
_START = 512  # bytes that tell what a file is
_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # before the numbers: what wrote them, where, the objects and their storages
_TIED = 8  # how often a file may use its bytes: weights that layers share are there once


def read_state_dict(path: Path | str, *, ema: bool | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a ``torch.save`` checkpoint, on the CPU, by parameter name.

    A state dict inside ``state_dict``, ``model`` and the like is taken out, and the prefix ``module.`` that
    DataParallel leaves is removed. Where the weights' moving average is there, too (``model_ema``, ``state_dict_ema``,
    …), it is taken, and a note says so; ``ema`` asks for it, or for the weights themselves.

    Raises WeightsError for a file that is missing, damaged, not a checkpoint, would run code, or holds NaN, infinities
    or tensors larger than itself.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        with open_regular(path) as file:
            start = file.read(_START)
        refuse_other_kinds(path, start)
        loaded = load_file(path) if _is_safetensors(path, start) else _load_checkpoint(path, start)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from error
    return check_state_dict(_bounded(_unwrapped(loaded, path, ema), path), str(path))


def _bounded(state: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
    """Refuse more numbers than the file can hold, before anybody looks at them."""
    size, used = path.stat().st_size, 0
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_meta:
            continue  # refused by name afterwards
        nbytes = tensor.numel() * tensor.element_size()
        used += nbytes
        if max(nbytes, tensor.untyped_storage().nbytes()) > size:
            shape = tuple(tensor.shape)
            raise WeightsError(f"{path}: {_shown(name)} claims to be {shape}, more numbers than the file holds.")
    if used > _TIED * size:
        raise WeightsError(f"{path} uses its {size:,} bytes over and over, for {used:,}. Save a plain state dict.")
    return state


def check_state_dict(state: Mapping[Any, Any], label: str) -> dict[str, Tensor]:
    """``state`` as a plain dict of finite CPU tensors without the ``module.`` prefix; ``label`` names it in errors."""
    checked: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{label} is not a state dict: its entry {_shown(name)} is a {type(tensor).__name__}, no tensor."
            )
        checked[name] = _checked_tensor(tensor.detach(), name, label)
    if not checked:
        raise WeightsError(f"{label} holds no tensors.")
    if "n_averaged" in checked and all(name.startswith("module.") for name in checked.keys() - {"n_averaged"}):
        del checked["n_averaged"]  # how many steps torch's AveragedModel has averaged
    if all(name.startswith("module.") for name in checked):
        return {name.removeprefix("module."): tensor for name, tensor in checked.items()}
    return checked


def _shown(name: Any) -> str:
    """A key of a stranger's, who may have made it of any size."""
    if isinstance(name, str):
        return repr(name[:100])
    return str(name) if isinstance(name, int) and name.bit_length() < 64 else f"of type {type(name).__name__}"


def _checked_tensor(tensor: Tensor, name: str, label: str) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise WeightsError(f"{label}: {name!r} is sparse, quantized or without data. Save it as a dense tensor.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{label}: {name!r} claims to be {tuple(tensor.shape)}, more numbers than the file holds.")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.to(torch.float32)).all()):
        raise WeightsError(f"{label}: {name!r} holds NaN or infinite values. These weights cannot be used.")
    return tensor.cpu()


def _is_safetensors(path: Path, start: bytes) -> bool:
    """By ending, or by content: the length of a JSON header, then the header."""
    return path.suffix == ".safetensors" or (start[8:9] == b"{" and not start.startswith(_ZIP))


def _load_checkpoint(path: Path, start: bytes) -> Any:
    zipped = start.startswith(_ZIP)
    try:
        if zipped:
            refuse_programs(path)
            _refuse_compressed(path)
        _check_pickles(path, zipped)
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols other than torch's own
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported operand" in str(error):
            refuse_new_protocol(path, zipped)
        wanted = re.search(r"(?:GLOBAL|[Cc]lass|function) <?(?:class |built-in function )?'?([\w.]+)", str(error))
        if wanted is None:
            raise _damaged(path) from error
        raise WeightsError(
            f"{path} holds more than tensors ({wanted[1]}), and ddeep runs no code from a weights file. If you trust "
            "it, load it where it was made and save torch.save(model.state_dict(), FILE)."
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # torch raises nearly anything on damaged files
        raise _damaged(path) from error


def _refuse_compressed(path: Path) -> None:
    """torch stores without compression; a compressed entry could unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(f"{path} is a compressed archive, not a checkpoint. Unpack it first.")


def _check_pickles(path: Path, zipped: bool) -> None:
    """Refuse what would fill the memory, hang or crash while it is loaded (see ``pickle_shapes``)."""
    try:
        if zipped:  # by torch's own reader: archives can be made to look different to another
            check_pickle(io.BytesIO(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")))
            return
        with open_regular(path) as file:
            for _ in range(_LEGACY_PICKLES):
                check_pickle(file)
    except NumpyError:
        raise WeightsError(numpy_beside(path)) from None
    except BoundsError as error:
        raise WeightsError(f"{path} holds more than tensors ({error}). Save only a state dict.") from None


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} is damaged or not a checkpoint. Copy or download it again.")


def _unwrapped(loaded: Any, path: Path, ema: bool | None) -> Mapping[Any, Any]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a state dict.")
    averaged, wrapped = None, False
    for _ in range(_NESTED):
        own = next((key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        average = next((key for key in _AVERAGES if isinstance(loaded.get(key), Mapping)), None)
        key = average if average is not None and (ema is not False or own is None) else own
        if key is None:
            break
        averaged, wrapped = averaged or (key if key == average else None), True
        if average is not None and own is not None and ema is None:
            console.note(f"{path}: read {average!r}, the moving average of the weights; --no-ema reads {own!r}.")
        inner: Mapping[Any, Any] = loaded[key]
        loaded = inner
    if ema is not None and ema != (averaged is not None):
        there = f"only their average, {averaged!r}" if averaged else "no moving average of its weights"
        raise WeightsError(f"{path} holds {there}. Leave out {'--ema' if ema else '--no-ema'}.")
    if not any(isinstance(value, Tensor) for value in loaded.values()) and (loaded or not wrapped):
        keys = ", ".join(_shown(key).strip("'") for key in list(loaded)[:5]) or "nothing"
        raise WeightsError(f"{path} holds {keys}, but no tensors: give a state dict, alone or under 'state_dict'.")
    whole: Mapping[Any, Any] = loaded
    return whole
