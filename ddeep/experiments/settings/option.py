"""One option: a field of a settings model, with the help and the panel that every command shows it in."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

Panel = Literal["What to examine", "How to select", "How to compute", "How to train", "Where to write"]
EXAMINE: Panel = "What to examine"
SELECT: Panel = "How to select"
COMPUTE: Panel = "How to compute"
TRAIN: Panel = "How to train"
WRITE: Panel = "Where to write"

# What a value may be completed from: a kind of plugins, the folders of runs, or files.
Completion = Literal["models", "datasets", "strategies", "metrics", "regularizers", "executions", "runs"]


def option(default: Any, panel: Panel, help: str, *, complete: Completion | None = None, **checks: Any) -> Any:
    """A field with its ``help``. The default is added to it where it is a value that one could type."""
    return Field(default=default, description=help, json_schema_extra={"panel": panel, "complete": complete}, **checks)


def three_numbers(value: Any) -> Any:
    """``"R,G,B"``, or one number for all three, or a list of three, as three finite numbers."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(part) for part in (parts * 3 if len(parts) == 1 else parts)]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError("Input should be three numbers, R,G,B, or one for all three")
    return numbers


def several(value: Any) -> Any:
    """One value as a list of one; a list each value once."""
    if isinstance(value, str | int | float):
        return (value,)
    words = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return tuple(dict.fromkeys(value)) if words else value
