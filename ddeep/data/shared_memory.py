"""Shared memory, through which worker processes hand over tensors: containers often have little of it.

torch does not survive a lack of it: what a worker cannot hand over is lost, and the reader waits for ever.
"""

from __future__ import annotations

import os
from functools import cache
from multiprocessing import queues
from pathlib import Path

from .. import console

_PLACE = Path("/dev/shm")  # where Linux keeps it


def enough(nbytes: int) -> bool:
    """Whether there is room for ``nbytes`` twice over; says so, once, where there is not."""
    try:
        status = os.statvfs(_PLACE)
    except OSError:
        return True  # another system, which knows no such folder
    free = status.f_bavail * status.f_frsize
    if free >= 2 * nbytes:
        return True
    _tell(free >> 20)
    return False


@cache
def _tell(megabytes: int) -> None:
    console.note(f"{_PLACE} has {megabytes} MiB free: decoded images go through pipes, which takes a little longer.")


def end_when_nothing_can_be_sent() -> None:
    """For a worker process: end where a result cannot be handed over, so that the reader notices."""

    def end(_error: Exception, _result: object) -> None:
        os._exit(1)

    queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]
