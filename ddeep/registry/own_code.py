"""Networks of the user's own: ``FILE.py:NAME`` or ``package.module:NAME`` where a model's name is wanted.

Naming them runs them: it is the user's own choice of code, as with ``python FILE.py`` (SECURITY.md). A file that names
some, such as a run's, is no such choice.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigError, suggestion
from .specs import ModelSpec

_NAME = re.compile(r"[^\W\d]\w*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


ALLOW_VARIABLE = "DDEEP_OWN_CODE"
_chosen: set[str] = set()  # what the user has named in this process


def allow(name: str) -> None:
    """Note that the user has named this code, not a file."""
    _chosen.add(name)


def is_own_code(name: str) -> bool:
    """Whether ``name`` has the form ``FILE.py:NAME`` or ``package.module:NAME``."""
    place, _, inside = name.rpartition(":")
    return bool(_NAME.fullmatch(inside)) and (place.endswith(".py") or bool(_DOTTED.fullmatch(place)))


def own_model(name: str) -> ModelSpec:
    """The network that ``name`` stands for; nothing is imported before it is built.

    Raises ConfigError unless the user has named it, and where there is no such file.
    """
    if name not in _chosen and os.environ.get(ALLOW_VARIABLE) != "1":
        raise ConfigError(
            f"{name} is code, and it is a file that names it: what ddeep reads runs no code by itself. If it is your "
            f"own, put --own-code before the command (ddeep --own-code report …), or set {ALLOW_VARIABLE}=1."
        )
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        _require_file(Path(place))
    return ModelSpec(name, build=partial(build, name), summary="your own code", source=place)


def build(name: str, num_classes: int) -> Any:
    """A new network: what ``NAME`` returns if it is a function or class, a copy of it if it is a network.

    ``num_classes`` is passed to those that take it. Raises ConfigError where there is no such code, or it fails.
    """
    place, _, inside = name.rpartition(":")
    found = _attribute(place, inside)
    if not callable(found) or (hasattr(found, "state_dict") and not inspect.isclass(found)):
        return _checked(copy.deepcopy(found), name)
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # of something that Python cannot look into
        parameters = ()  # type: ignore[assignment]
    takes = any(one.name == "num_classes" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    try:
        module = found(num_classes=num_classes) if takes else found()
    except Exception as error:
        raise ConfigError(
            f"{name} could not be built: {type(error).__name__}: {error}. It is called "
            f"{f'with num_classes={num_classes}' if takes else 'without arguments'}; DDEEP_DEBUG=1 shows where."
        ) from error
    return _checked(module, name)


def _checked(module: Any, name: str) -> Any:
    from torch import nn

    if isinstance(module, nn.Module):
        return module
    raise ConfigError(f"{name} gives a {type(module).__name__}, not an nn.Module. Name a network, or what returns one.")


def _attribute(place: str, inside: str) -> Any:
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    except ConfigError:
        raise
    except Exception as error:  # it may fail in any way
        raise ConfigError(
            f"{place} could not be imported: {type(error).__name__}: {error}. DDEEP_DEBUG=1 shows where."
        ) from error
    if not hasattr(module, inside):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise ConfigError(f"There is no {inside!r} in {place}.{suggestion(inside, names)}")
    return getattr(module, inside)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. Give --model FILE.py:NAME, NAME being a class or function in it.")


def _from_file(path: Path) -> ModuleType:
    """The module of a file, imported once, with its folder on the path as ``python FILE.py`` would have it."""
    _require_file(path)
    file = path.resolve()
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(file):
        name = f"own_{path.stem}"  # somebody else's module has the name
        known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    _look_first_in(file.parent)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_package(name: str) -> ModuleType:
    _look_first_in(Path(os.getcwd()))  # noqa: PTH109 - as Python itself has it
    return importlib.import_module(name)


def _look_first_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
