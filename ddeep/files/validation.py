"""What pydantic found wrong, in one line."""

from __future__ import annotations

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints in one line."""
    problem = error.errors()[0]
    where = ".".join(str(part)[:60] for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"].removeprefix("Value error, ")
