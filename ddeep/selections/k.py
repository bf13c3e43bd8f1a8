"""How many filters a class gets."""

from __future__ import annotations

import math

from ..errors import ConfigError

K = int | float


def parse_k(given: object) -> K:
    """A number of filters (1, 2, …) or a fraction in (0, 1), from text or a number."""
    try:
        value = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"k = {str(given)[:40]!r} is not a number. {_K_HELP}") from None
    whole = isinstance(given, int) or (isinstance(given, str) and given.strip().isdecimal())
    if whole and value >= 1:  # not 1.0: is it all filters, or one?
        return int(value)
    if 0 < value < 1:
        return value
    raise ConfigError(f"k = {str(given)[:40]} cannot be. {_K_HELP}")


_K_HELP = (
    "Give a whole number of filters per class (1, 2, …), or a fraction between 0 and 1 for strategies that take one."
)
