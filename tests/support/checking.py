"""The checker of annotations that the tests install."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from beartype import beartype
from beartype.roar import BeartypeDecorHintPep673Exception

MOST = 100  # calls of a function that a test has checked: what a loop does a thousand times it has done before
UNTOUCHED = "ddeep.cli"  # typer reads the annotations of these, which are no one's where they are not checked

_calls: Counter[tuple[str, str]] = Counter()
_unchecked: list[Any] = []


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``beartype``, with two exceptions, and for the first ``MOST`` calls of every test.

    It can check methods that return ``Self`` only where it decorates whole classes. And torch.fx traces a network by
    calling ``forward`` with stand-ins that are no tensors; refusing those would keep the tests from what users run.
    """
    try:
        strict = beartype(function)
    except BeartypeDecorHintPep673Exception:
        return function
    counted = _counted(function, strict)
    return _traceable(function, counted) if function.__name__ == "forward" else counted


def check_again() -> None:
    """Begin to count anew: another test."""
    _calls.clear()
    for function in _unchecked:
        del function.__no_type_check__
    _unchecked.clear()


def _counted(function: Callable[..., Any], strict: Callable[..., Any]) -> Callable[..., Any]:
    name = (function.__module__, function.__qualname__)

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _calls[name] += 1
        if _calls[name] == MOST:
            _leave(*name)
        return strict(*args, **kwargs)

    return counted


def _leave(module: str, name: str) -> None:
    """Have jaxtyping check the function no more, by the mark of ``typing.no_type_check``.

    One made inside another function is not found, and stays checked.
    """
    if module.startswith(UNTOUCHED) or "<locals>" in name:
        return
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    for function in _layers(found):
        function.__no_type_check__ = True
        _unchecked.append(function)


def _layers(found: Any) -> Iterator[Any]:
    """A function below its descriptor, and all that its decorators have wrapped."""
    for attribute in ("__func__", "fget", "func"):
        found = getattr(found, attribute, found)
    while inspect.isfunction(found):
        yield found
        found = getattr(found, "__wrapped__", None)


def _traceable(function: Callable[..., Any], strict: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def forward(*args: Any, **kwargs: Any) -> Any:
        from torch.fx import Proxy

        # jaxtyping hands the result over as a keyword.
        traced = any(isinstance(value, Proxy) for value in (*args, *kwargs.values()))
        return (function if traced else strict)(*args, **kwargs)

    return forward
