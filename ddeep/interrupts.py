"""Ctrl-C as a request: what is being done is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """Whether somebody has pressed Ctrl-C."""

    requested: bool = False


@contextmanager
def interruption(wanted: bool = True) -> Iterator[Interruption]:
    """While the block runs, the first Ctrl-C only sets ``requested``; a second one raises KeyboardInterrupt as ever.

    Does nothing where ``wanted`` is False or outside the main thread, where Python delivers no signals.
    """
    state = Interruption()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield state
        return
    previous = signal.getsignal(signal.SIGINT)

    def request(_number: int, _frame: FrameType | None) -> None:
        state.requested = True
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, request)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, previous)
