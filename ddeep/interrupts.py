"""Ctrl-C as a request: what is being done is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """Whether somebody has pressed Ctrl-C."""

    requested: bool = False


@contextmanager
def noticed_interrupts() -> Iterator[Interruption]:
    """While the block runs, Ctrl-C raises KeyboardInterrupt as ever, and ``requested`` tells it from anybody else's."""
    state = Interruption()
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield state
        return
    handler: Callable[[int, FrameType | None], object] = previous

    def notice(number: int, frame: FrameType | None) -> None:
        state.requested = True
        handler(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, previous)


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
