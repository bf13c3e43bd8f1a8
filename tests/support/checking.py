"""The checker of annotations that the tests install."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import beartype
from beartype.roar import BeartypeDecorHintPep673Exception


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``beartype``, with two exceptions.

    It can check methods that return ``Self`` only where it decorates whole classes. And torch.fx traces a network by
    calling ``forward`` with stand-ins that are no tensors; refusing those would keep the tests from what users run.
    """
    try:
        strict = beartype(function)
    except BeartypeDecorHintPep673Exception:
        return function
    return _traceable(function, strict) if function.__name__ == "forward" else strict


def _traceable(function: Callable[..., Any], strict: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def forward(*args: Any, **kwargs: Any) -> Any:
        from torch.fx import Proxy

        # jaxtyping hands the result over as a keyword.
        traced = any(isinstance(value, Proxy) for value in (*args, *kwargs.values()))
        return (function if traced else strict)(*args, **kwargs)

    return forward
