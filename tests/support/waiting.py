"""How long a test waits for what does come. Time is no figure here: a busy machine is slow, and nothing is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 600.0  # seconds, after which a test that hangs is ended


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds. Raises AssertionError, saying ``what`` did not come, when patience is at its end."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)
