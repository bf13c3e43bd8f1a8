"""Whole numbers in a stranger's file."""

from __future__ import annotations

from typing import Any

from ..errors import SelectionError


def whole_number(value: Any) -> int:
    """``value``, or SelectionError where it is no whole number."""
    if type(value) is not int:
        raise SelectionError(f"{str(value)[:60]!r} must be a whole number.")
    return value


def whole_numbers(row: Any) -> list[int]:
    """``row``, or SelectionError where it is no list of whole numbers."""
    if not isinstance(row, list) or any(type(value) is not int for value in row):
        raise SelectionError(f"filters must be a list of whole numbers, not {str(row)[:60]!r}.")
    return row
