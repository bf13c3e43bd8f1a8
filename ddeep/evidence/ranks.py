"""Who this process is among those that torchrun or accelerate launch has started. Nothing here imports torch."""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number, 0 the one in charge."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
