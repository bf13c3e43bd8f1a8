"""Code, hashed: what an edited network or statistic gathers is another thing than what the cache has."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

Code = type | Callable[..., Any]
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.Size)
# Of these the version stands for the files: torch's own, and what comes with Python.
_GIVEN = {"torch", "builtins", "numpy", *sys.stdlib_module_names}


def network_hash(module: nn.Module, build: Code | None = None) -> str:
    """Hex sha256 of what a network computes, apart from its weights.

    That is its modules as printed; their attributes, printed or not (a scale, a stride), functions (an activation)
    among them by name; and the files of all code that they, and ``build`` which made it, call.
    """
    digest = hashlib.sha256(repr(module).encode())
    code: list[Code] = [] if build is None else [build]
    for name, part in module.named_modules():
        code.append(type(part))
        for attribute, value in sorted(vars(part).items(), key=lambda item: item[0]):
            if attribute.startswith("_") and attribute in _OF_MODULES:
                continue
            digest.update(f"{name}.{attribute}={_shown(value)}\n".encode())
            code += [one for one in _within(value) if _is_code(one)]
    digest.update(code_hash(code).encode())
    return digest.hexdigest()


_OF_MODULES = frozenset(vars(nn.Module())) | {"_is_full_backward_hook"}


def code_hash(code: Iterable[Code]) -> str:
    """Hex sha256 of the files that define ``code`` and what it calls, as far as names tell.

    torch's own counts by its version, what has no file by its name.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    found = {f"{one.__module__}.{one.__qualname__}": one for one in _reached(code)}
    digest.update("\n".join(sorted(found)).encode())
    files = {file for one in found.values() if (file := _file(one)) is not None}
    for content in sorted(hashlib.sha256(file.read_bytes()).digest() for file in files):
        digest.update(content)
    return digest.hexdigest()


def _reached(code: Iterable[Code]) -> list[Any]:
    """``code``, and all classes and functions that it names, and that those name."""
    waiting, found = [_plain_code(one) for one in code], dict[int, Any]()
    own = {_package(one) for one in waiting}
    while waiting:
        one = waiting.pop()
        if id(one) in found or _package(one) in _GIVEN or (_package(one) not in own and _is_installed(one)):
            continue
        found[id(one)] = one
        waiting += [_plain_code(named) for named in _named_by(one) if _is_code(named)]
    return list(found.values())


def _named_by(one: Any) -> Iterator[Any]:
    """What a class or function names: bases and methods, or globals that its code reads."""
    if isinstance(one, type):
        yield from one.__bases__
        for value in vars(one).values():
            yield from _within(value)
        return
    if isinstance(one, FunctionType):
        for name in _names(one.__code__):
            yield from _within(one.__globals__.get(name))


def _names(code: CodeType) -> Iterator[str]:
    """Every name that code, and code within it, reads."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _within(value: Any) -> Iterator[Any]:
    """A value, or what a wrapper, a list or a module of one's own holds."""
    if isinstance(value, classmethod | staticmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from (part for part in (value.fget, value.fset) if part is not None)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif type(value) in (dict, OrderedDict):  # others may make what they hold only when they are asked
        yield from value.values()
    elif isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in _GIVEN:
        yield from (part for part in vars(value).values() if getattr(part, "__module__", None) == value.__name__)
    else:
        yield value


def _is_code(value: Any) -> bool:
    return isinstance(value, type | FunctionType) or (callable(value) and hasattr(value, "__wrapped__"))


def _plain_code(value: Any) -> Any:
    """The function beneath decorators and partials."""
    while isinstance(value, functools.partial):
        value = value.func
    return inspect.unwrap(value) if callable(value) else value


def _is_installed(one: Any) -> bool:
    """Whether it belongs to a library, ddeep among them, whose own version is what changes it."""
    file = _file(one)
    return _package(one) == "ddeep" or file is None or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _package(one: Any) -> str:
    return str(getattr(one, "__module__", None) or "builtins").partition(".")[0]


def _file(one: Any) -> Path | None:
    try:
        path = Path(inspect.getfile(one))
    except (OSError, TypeError):
        return None
    return path if path.is_file() else None


def _shown(value: Any) -> str:
    """A plain value, or what holds such, as text that is the same in every process; else the name of its type."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_shown, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key!r}: {_shown(one)}' for key, one in value.items())})"
    if isinstance(value, functools.partial):
        return f"partial({_shown(value.func)}, {_shown(value.args)}, {_shown(value.keywords)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return f"a {type(value).__module__}.{type(value).__qualname__}"
